(** * Starts from which the rate is lam_2 are dense

    Claim [S.convergence]: arbitrarily near each start in the orbit there is one from which the local rule
    converges no faster than at the rate p lam_2 / tau. From near the limit, where [Generic] says so, the
    flow is followed back in time. *)

From Coq Require Import Classical_Prop.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Picard Stock Solutions
  Laplacian Rate Osborne Generic.

Section Gronwall.
Context {U : Type}.
Variables (units : list U) (f : (U -> R) -> U -> R) (L T : R).
Hypotheses (L_pos : 0 <= L) (lip : lipschitz units (fun _ => f) L).

(** Two solutions on [0, T] part at most at the rate L N. *)
Lemma parting u w : curve units u -> curve units w ->
  (forall t k, 0 < t < T -> In k units -> is_derive (fun s => u s k) t (f (u t) k) /\ is_derive (fun s => w s k) t (f (w t) k)) ->
  forall t, 0 <= t <= T -> square units (fun k => u t k - w t k)
    <= square units (fun k => u 0 k - w 0 k) * exp (2 * L * INR (length units) * t).
Proof.
  intros Cu Cw D t Ht. set (r := 2 * L * INR (length units)).
  set (n := fun t => square units (fun k => u t k - w t k)).
  set (dn := fun t => 2 * Σ k ∈ units, (u t k - w t k) * (f (u t) k - f (w t) k)).
  assert (Dn : forall s, 0 < s < T -> is_derive n s (dn s)).
  { intros s Hs. apply (square_derive units (fun t k => u t k - w t k) (fun t k => f (u t) k - f (w t) k)).
    intros k Hk. destruct (D s k Hs Hk). apply (is_derive_minus (fun s => u s k) (fun s => w s k)); assumption. }
  assert (Cn : forall s, continuous n s).
  { intros s. apply (sum_continuous units (fun k t => (u t k - w t k) ^ 2)). intros k Hk.
    apply (continuous_comp (fun t => u t k - w t k) (fun y => y ^ 2)).
    - apply (continuous_minus (fun t => u t k) (fun t => w t k)); [apply Cu|apply Cw]; exact Hk.
    - apply (ex_derive_continuous (fun y => y ^ 2)). auto_derive. exact I. }
  assert (B : forall s, dn s <= r * n s).
  { intros s. unfold dn, n, square, r. rewrite <- sum_scal.
    apply Rle_trans with (Σ i ∈ units, Σ j ∈ units, L * ((u s i - w s i) ^ 2 + (u s j - w s j) ^ 2)).
    - apply sum_le. intros i Hi.
      apply Rle_trans with (2 * (Rabs (u s i - w s i) * (L * distance units (u s) (w s)))).
      + apply Rmult_le_compat_l; [lra|]. eapply Rle_trans; [apply Rle_abs|]. rewrite Rabs_mult.
        apply Rmult_le_compat_l; [apply Rabs_pos|apply (lip 0), Hi].
      + unfold distance. rewrite <- !sum_scal. apply sum_le. intros j _.
        rewrite <- (pow2_abs (u s i - w s i)), <- (pow2_abs (u s j - w s j)).
        pose proof (pow2_ge_0 (Rabs (u s i - w s i) - Rabs (u s j - w s j))).
        replace (2 * (Rabs (u s i - w s i) * (L * Rabs (u s j - w s j))))
          with (L * (2 * Rabs (u s i - w s i) * Rabs (u s j - w s j))) by ring.
        apply Rmult_le_compat_l; [exact L_pos|]. lra.
    - apply Req_le. rewrite (sum_ext units _ (fun i => L * (INR (length units) * (u s i - w s i) ^ 2)
        + L * Σ j ∈ units, (u s j - w s j) ^ 2)).
      + rewrite sum_plus, !sum_scal, sum_const. ring.
      + intros i _. rewrite sum_scal, sum_plus, sum_const. ring. }
  assert (M : n t * exp (- r * t) <= n 0 * exp (- r * 0)).
  { destruct (MVT_gen (fun s => n s * exp (- r * s)) 0 t (fun s => (dn s - r * n s) * exp (- r * s))) as (y & Hy & E).
    - intros s Hs. rewrite Rmin_left, Rmax_right in Hs by lra. evar_last.
      + apply (is_derive_mult n (fun s => exp (- r * s))); [apply Dn; lra| |intros; apply Rmult_comm].
        auto_derive; [exact I|reflexivity].
      + unfold plus, mult; simpl. ring.
    - intros s _. apply continuity_pt_filterlim. apply (continuous_mult n (fun s => exp (- r * s))); [apply Cn|].
      apply (ex_derive_continuous (fun s => exp (- r * s))). auto_derive. exact I.
    - rewrite Rminus_0_r in E. pose proof (exp_pos (- r * y)). specialize (B y).
      assert ((dn y - r * n y) * exp (- r * y) * t <= 0); [|lra].
      assert ((dn y - r * n y) * exp (- r * y) <= 0) by nra. nra. }
  rewrite Rmult_0_r, exp_0, Rmult_1_r in M. fold (n t) (n 0). replace (2 * L * INR (length units) * t) with (r * t) by (unfold r; ring).
  pose proof (exp_pos (- r * t)) as P. apply Rmult_le_reg_r with (exp (- r * t)); [exact P|].
  rewrite Rmult_assoc, <- exp_plus. replace (r * t + - r * t) with 0 by ring. rewrite exp_0. lra.
Qed.

End Gronwall.

(** A solution, with its past made constant, is continuous; so is the same run backwards. *)
Lemma kept_curve {U : Type} (units : list U) f (h : R -> U -> R) : solves units f h -> curve units (fun t => h (Rmax 0 t)).
Proof.
  intros Hh k t Hk. destruct (Hh k Hk) as [R0 D]. apply (continuous_from_zero (fun t => h t k)); [exact R0|].
  intros s Hs. apply (ex_derive_continuous (fun s => h s k)). eexists. apply D, Hs.
Qed.

Lemma kept_derive {U : Type} (units : list U) f (h : R -> U -> R) t k : solves units f h -> In k units -> 0 < t ->
  is_derive (fun s => h (Rmax 0 s) k) t (f t (h (Rmax 0 t)) k).
Proof.
  intros Hh Hk Ht. rewrite (Rmax_right 0 t) by lra. apply is_derive_ext_loc with (fun s => h s k).
  - exists (mkposreal t Ht). intros s Hs. apply Rabs_lt_between' in Hs. simpl in Hs. rewrite Rmax_right by lra. reflexivity.
  - apply Hh; assumption.
Qed.

Lemma back_curve {U : Type} (units : list U) (u : R -> U -> R) T : curve units u -> curve units (fun t => u (T - t)).
Proof.
  intros Hu k t Hk. apply (continuous_comp (fun t => T - t) (fun s => u s k)); [|apply Hu, Hk].
  apply (ex_derive_continuous (fun t => T - t)). auto_derive. exact I.
Qed.

Lemma back_derive (u : R -> R) (du : R) T t : is_derive u (T - t) du -> is_derive (fun s => u (T - s)) t (- du).
Proof.
  intros H. evar_last; [apply (is_derive_comp u (fun s => T - s)); [exact H|auto_derive; [exact I|reflexivity]]|].
  unfold scal; simpl; unfold mult; simpl. ring.
Qed.

Section Dense.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p tau : R) (J : U -> U -> R) (x : U -> R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p) (tau_pos : 0 < tau).
Hypothesis positive : forall i j, In i units -> In j units -> 0 < alpha i j.
Hypothesis balanced_x : matrix_balanced units alpha p (transformed x J).

Notation g h := (unit_imbalance units alpha p (transformed h J)).
Notation flows := (follows units alpha p tau J).
Notation cost_of h := (matrix_cost units alpha p (transformed h J)).
Let c := synapse_cost alpha p (transformed x J).
Let a := synapse_cost alpha p J.

Lemma flows_rule h : flows h -> stock_rule units alpha p tau (fun t => transformed (h t) J).
Proof.
  intros Hh i j Hi Hj. split.
  - unfold transformed. apply mult_filterlim; [apply _| |].
    + apply mult_filterlim; [apply _| |apply filterlim_const].
      apply (comp_filterlim (fun x => exp (- x)) (fun t => h t i)); [apply Hh, Hi|].
      apply (ex_derive_continuous (fun x => exp (- x))). auto_derive. exact I.
    + apply (comp_filterlim exp (fun t => h t j)); [apply Hh, Hj|apply continuous_exp].
  - intros t Ht. unfold transformed at 1. evar_last.
    + apply (is_derive_mult (fun t => exp (- h t i) * J i j) (fun t => exp (h t j))).
      * apply (is_derive_ext (fun t => J i j * exp (- h t i))); [intros; apply Rmult_comm|].
        apply (is_derive_scal (fun t => exp (- h t i))).
        apply (is_derive_comp (fun x => exp (- x)) (fun t => h t i)); [|apply Hh; assumption].
        auto_derive; [exact I|reflexivity].
      * apply (is_derive_comp exp (fun t => h t j)); [apply is_derive_exp|apply Hh; assumption].
      * intros; apply Rmult_comm.
    + unfold plus, mult, scal; simpl; unfold mult; simpl. unfold transformed. field. lra.
Qed.

Lemma flows_later h T : 0 <= T -> flows h -> flows (fun t => h (T + t)).
Proof.
  intros HT Hh k Hk. destruct (Hh k Hk) as [R0 D]. split.
  - destruct HT as [HT|<-].
    + rewrite Rplus_0_r. intros P HP. apply filter_le_within. revert P HP.
      assert (C : continuous (fun t => h (T + t) k) 0).
      { apply (continuous_comp (fun t => T + t) (fun s => h s k)).
        - apply (ex_derive_continuous (fun t => T + t)). auto_derive. exact I.
        - rewrite Rplus_0_r. apply (ex_derive_continuous (fun s => h s k)). eexists. apply D, HT. }
      unfold continuous in C. rewrite Rplus_0_r in C. exact C.
    + intros P HP. rewrite Rplus_0_l in HP. destruct (R0 P HP) as [d Hd]. exists d. intros t Ht Hpos.
      rewrite Rplus_0_l. apply Hd; assumption.
  - intros t Ht. evar_last.
    + apply (is_derive_comp (fun s => h s k) (fun t => T + t)); [apply D; lra|]. auto_derive; [exact I|reflexivity].
    + unfold scal; simpl; unfold mult; simpl. ring.
Qed.

Lemma a_nonneg i j : In i units -> In j units -> 0 <= a i j.
Proof. intros Hi Hj. apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. Qed.

(** A clip beyond which no solution from a cost of at most C goes. *)
Lemma clip_for C : exists M, 0 < M /\ forall i j, In i units -> In j units -> a i j = 0 \/ C <= a i j * exp (p * M).
Proof.
  destruct (list_bound (all_pairs units) (fun e m => a (fst e) (snd e) <= 0 \/ C <= a (fst e) (snd e) * exp (p * m)))
    as (M & HM & H).
  - intros e m m' [Z|Hm] Hmm; [left; exact Z|]. destruct (Rle_dec (a (fst e) (snd e)) 0) as [P|P]; [left; exact P|right].
    eapply Rle_trans; [exact Hm|]. apply Rmult_le_compat_l; [lra|].
    destruct Hmm as [Hlt|<-]; [apply Rlt_le, exp_increasing, Rmult_lt_compat_l; assumption|lra].
  - intros e _. destruct (Rle_dec (a (fst e) (snd e)) 0) as [P|P]; [exists 0; left; exact P|].
    set (b := a (fst e) (snd e)) in *. exists (C / (b * p)). right. pose proof (exp_ineq1_le (p * (C / (b * p)))) as E.
    replace (p * (C / (b * p))) with (C / b) in * by (field; lra).
    apply Rle_trans with (b * (1 + C / b)); [|apply Rmult_le_compat_l; lra].
    replace (b * (1 + C / b)) with (b + C) by (field; lra). lra.
  - exists M. split; [exact HM|]. intros i j Hi Hj. pose proof (a_nonneg i j Hi Hj).
    destruct (H (i, j)) as [Z|E]; [apply entries_in; auto|left; simpl in Z; lra|right; exact E].
Qed.

Lemma cost_at_scales h i j : synapse_cost alpha p (transformed h J) i j = a i j * exp (p * (h j - h i)).
Proof. apply cost_transformed. Qed.

Lemma cost_near h h' C : cost_of h * exp (2 * p) <= C -> (forall k, In k units -> Rabs (h' k - h k) <= 1) -> cost_of h' <= C.
Proof.
  intros HC Ne. eapply Rle_trans; [|exact HC]. unfold matrix_cost. rewrite <- sum_scal_r. apply sum_le. intros i Hi.
  rewrite <- sum_scal_r. apply sum_le. intros j Hj. rewrite !cost_at_scales, Rmult_assoc, <- exp_plus.
  apply Rmult_le_compat_l; [apply a_nonneg; assumption|].
  pose proof (Ne i Hi) as Ni. pose proof (Ne j Hj) as Nj. apply Rabs_le_between in Ni, Nj.
  assert (Y : p * (h' j - h' i) <= p * (h j - h i) + 2 * p) by nra.
  destruct Y as [Y|Y]; [apply Rlt_le, exp_increasing, Y|rewrite Y; lra].
Qed.

Section Clip.
Variables (M C : R).
Hypothesis M_pos : 0 < M.
Hypothesis enough : forall i j, In i units -> In j units -> a i j = 0 \/ C <= a i j * exp (p * M).

Notation field := (fun h k => clipped_imbalance units alpha p J M h k / tau).
Let L := 4 * (p * exp (p * M)) * matrix_cost units alpha p J / tau.

Lemma clip_lipschitz : lipschitz units (fun _ => field) L.
Proof. apply field_is_lipschitz; try assumption. intros; apply Rlt_le, positive; assumption. Qed.

Lemma clip_bound : 0 <= L.
Proof. apply field_bound; try assumption. intros; apply Rlt_le, positive; assumption. Qed.

(** Solutions of the rule from a cost of at most C are not clipped. *)
Lemma flows_clipped h : flows h -> cost_of (h 0) <= C -> solves units (fun _ => field) h.
Proof.
  intros Hh H0 k Hk. destruct (Hh k Hk) as [R0 D]. split; [exact R0|]. intros t Ht.
  evar_last; [apply (D t Ht)|]. cbv beta. f_equal. symmetry. apply unclipped; [exact Hk|]. intros i j Hi Hj Nz.
  apply Rnot_lt_le. intros N. fold a in Nz.
  assert (Fall : cost_of (h t) <= C).
  { eapply Rle_trans; [|exact H0].
    apply (rule_cost_falls eq_dec units alpha p tau nodup p_pos (fun t => transformed (h t) J) 0 t tau_pos (flows_rule h Hh)). lra. }
  destruct (enough i j Hi Hj) as [Z|E]; [apply Nz, Z|].
  assert (Pos : 0 < a i j) by (pose proof (a_nonneg i j Hi Hj); destruct (Req_dec (a i j) 0); [contradiction|lra]).
  assert (T : a i j * exp (p * (h t j - h t i)) <= cost_of (h t)).
  { rewrite <- cost_at_scales.
    assert (P : forall y z, In y units -> In z units -> 0 <= synapse_cost alpha p (transformed (h t) J) y z).
    { intros y z Hy Hz. apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. }
    apply Rle_trans with (Σ j ∈ units, synapse_cost alpha p (transformed (h t) J) i j).
    - apply (sum_term units (synapse_cost alpha p (transformed (h t) J) i)); [intros; apply P; assumption|exact Hj].
    - apply (sum_term units (fun i => Σ j ∈ units, synapse_cost alpha p (transformed (h t) J) i j)); [|exact Hi].
      intros y Hy. apply sum_nonneg. intros; apply P; assumption. }
  assert (exp (p * M) < exp (p * (h t j - h t i))) by (apply exp_increasing, Rmult_lt_compat_l; assumption). nra.
Qed.

(** Back from z = h(T) + (something small) to a start near h(0). *)
Lemma back_to_start h z T e : 0 <= T -> flows h -> 0 < e -> e <= 1 -> cost_of (h 0) * exp (2 * p) <= C ->
  square units (fun k => z k - h T k) * exp (2 * L * INR (length units) * T) <= e ^ 2 ->
  exists h', flows h' /\ (forall k, In k units -> Rabs (h' 0 k - h 0 k) <= e) /\ forall k, In k units -> h' T k = z k.
Proof.
  intros HT Hh He He1 HC Hz.
  assert (C0 : 0 <= cost_of (h 0)).
  { apply sum_nonneg. intros i Hi. apply sum_nonneg. intros j Hj.
    apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. }
  assert (E1 : 1 <= exp (2 * p)) by (pose proof (exp_ineq1_le (2 * p)); lra).
  pose proof (flows_clipped h Hh ltac:(nra)) as Sh.
  set (back := fun h k => - (clipped_imbalance units alpha p J M h k / tau)).
  assert (Lb : lipschitz units (fun _ => back) L).
  { intros t y w k Hk. unfold back. rewrite <- Rabs_Ropp. eapply Rle_trans; [|apply (clip_lipschitz t y w k Hk)].
    apply Req_le. f_equal. ring. }
  assert (Cb : continuous_field units (fun _ => back)).
  { intros y Hy k t Hk. unfold back. apply (continuous_opp (fun t => clipped_imbalance units alpha p J M (y t) k / tau)).
    apply (field_is_continuous units alpha p tau J p_pos M y Hy k t Hk). }
  destruct (solution_exists units (fun _ => back) L clip_bound Lb Cb z) as (b & Hb & B0).
  set (kb := fun t => b (Rmax 0 t)). set (kh := fun t => h (Rmax 0 t)).
  assert (Cb' : curve units kb) by apply (kept_curve units _ b Hb).
  assert (Ch' : curve units kh) by apply (kept_curve units _ h Sh).
  assert (Kb0 : kb 0 = b 0) by (unfold kb; rewrite Rmax_left by lra; reflexivity).
  assert (KhT : kh T = h T) by (unfold kh; rewrite Rmax_right by lra; reflexivity).
  assert (Kh0 : kh 0 = h 0) by (unfold kh; rewrite Rmax_left by lra; reflexivity).
  (* back to the start *)
  assert (Near : square units (fun k => kb T k - h 0 k) <= e ^ 2).
  { pose proof (parting units back L T clip_bound Lb kb (fun t => kh (T - t)) Cb' (back_curve units kh T Ch')) as P.
    eapply Rle_trans; [|exact Hz].
    assert (X : square units (fun k => kb T k - kh (T - T) k)
      <= square units (fun k => kb 0 k - kh (T - 0) k) * exp (2 * L * INR (length units) * T)).
    { apply P; [|lra]. intros t k Ht Hk. split.
      - apply (kept_derive units (fun _ => back) b t k Hb Hk). lra.
      - apply (back_derive (fun s => kh s k)). apply (kept_derive units (fun _ => field) h (T - t) k Sh Hk). lra. }
    rewrite Rminus_eq_0, Rminus_0_r, KhT, Kh0, Kb0 in X.
    replace (square units (fun k => b 0 k - h T k)) with (square units (fun k => z k - h T k)) in X;
      [exact X|]. apply sum_ext. intros k _. rewrite B0. reflexivity. }
  assert (Ne : forall k, In k units -> Rabs (kb T k - h 0 k) <= e).
  { intros k Hk. apply (abs_bound units (fun k => kb T k - h 0 k) k e Hk); [lra|exact Near]. }
  destruct (follows_exists eq_dec units alpha p tau J nodup p_pos tau_pos positive (kb T)) as (h' & Hh' & H0').
  exists h'. split; [exact Hh'|]. split; [intros k Hk; rewrite H0'; apply Ne, Hk|].
  (* forward again *)
  assert (Cost : cost_of (h' 0) <= C).
  { apply (cost_near (h 0) (h' 0) C HC). intros k Hk. rewrite H0'. eapply Rle_trans; [apply Ne, Hk|exact He1]. }
  pose proof (flows_clipped h' Hh' Cost) as Sh'. set (kh' := fun t => h' (Rmax 0 t)).
  assert (Z : square units (fun k => kh' T k - kb (T - T) k) <= 0).
  { pose proof (parting units field L T clip_bound clip_lipschitz kh' (fun t => kb (T - t)) (kept_curve units _ h' Sh')
      (back_curve units kb T Cb')) as P.
    eapply Rle_trans; [apply (P) with (t := T); [|lra]|].
    - intros t k Ht Hk. split.
      + apply (kept_derive units (fun _ => field) h' t k Sh' Hk). lra.
      + evar_last; [apply (back_derive (fun s => kb s k)), (kept_derive units (fun _ => back) b (T - t) k Hb Hk); lra|].
        unfold back. apply Ropp_involutive.
    - unfold square. rewrite (sum_zero units); [lra|]. intros k _. rewrite Rminus_0_r.
      replace (kh' 0) with (h' 0) by (unfold kh'; rewrite Rmax_left by lra; reflexivity). rewrite H0'. ring. }
  assert (KhT' : kh' T = h' T) by (unfold kh'; rewrite Rmax_right by lra; reflexivity).
  rewrite Rminus_eq_0, Kb0, KhT' in Z. intros k Hk.
  pose proof (square_bound units (fun k => h' T k - b 0 k) k Hk) as B. cbv beta in B. rewrite <- B0.
  destruct (Req_dec (h' T k - b 0 k) 0) as [E|E]; [lra|]. pose proof (pow2_gt_0 _ E). lra.
Qed.

End Clip.

(** ** Solutions depend continuously on their starts *)

Lemma continuous_dependence h T : flows h -> 0 <= T -> exists Q, 0 < Q /\ forall h' e, flows h' -> 0 <= e <= 1 ->
  (forall k, In k units -> Rabs (h' 0 k - h 0 k) <= e) -> forall k, In k units -> Rabs (h' T k - h T k) <= Q * e.
Proof.
  intros Hh HT. destruct (clip_for (cost_of (h 0) * exp (2 * p))) as (M & HM & Enough).
  set (L := 4 * (p * exp (p * M)) * matrix_cost units alpha p J / tau).
  assert (C0 : 0 <= cost_of (h 0)).
  { apply sum_nonneg. intros i Hi. apply sum_nonneg. intros j Hj.
    apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. }
  assert (E1 : 1 <= exp (2 * p)) by (pose proof (exp_ineq1_le (2 * p)); lra).
  pose proof (flows_clipped M _ Enough h Hh ltac:(nra)) as Sh.
  set (X := exp (2 * L * INR (length units) * T)). assert (HX : 0 < X) by apply exp_pos.
  set (n := INR (length units)). assert (Hn : 0 <= n) by apply pos_INR.
  exists (n * X + 1). assert (HQ : 0 <= n * X) by (apply Rmult_le_pos; lra). split; [lra|].
  intros h' e Hh' He Ne k Hk.
  pose proof (flows_clipped M _ Enough h' Hh' (cost_near _ _ _ (Rle_refl _) (fun k Hk => Rle_trans _ _ _ (Ne k Hk) (proj2 He)))) as Sh'.
  pose proof (parting units _ L T (clip_bound M) (clip_lipschitz M) _ _ (kept_curve units _ h' Sh') (kept_curve units _ h Sh)) as P.
  assert (Sq : square units (fun k => h' (Rmax 0 T) k - h (Rmax 0 T) k)
    <= square units (fun k => h' (Rmax 0 0) k - h (Rmax 0 0) k) * X).
  { apply P; [|lra]. intros t j Ht Hj. split.
    - apply (kept_derive units _ h' t j Sh' Hj). lra.
    - apply (kept_derive units _ h t j Sh Hj). lra. }
  rewrite (Rmax_right 0 T HT), (Rmax_left 0 0 (Rle_refl 0)) in Sq.
  assert (S0 : square units (fun k => h' 0 k - h 0 k) <= n * e ^ 2).
  { unfold n. rewrite <- sum_const. apply sum_le. intros j Hj. specialize (Ne j Hj). rewrite <- pow2_abs.
    apply pow_incr. split; [apply Rabs_pos|exact Ne]. }
  apply (abs_bound units (fun k => h' T k - h T k) k ((n * X + 1) * e) Hk); [apply Rmult_le_pos; lra|].
  eapply Rle_trans; [exact Sq|]. apply Rle_trans with (n * e ^ 2 * X); [apply Rmult_le_compat_r; lra|].
  replace (((n * X + 1) * e) ^ 2) with ((n * X + 1) ^ 2 * e ^ 2) by ring. replace (n * e ^ 2 * X) with (n * X * e ^ 2) by ring.
  apply Rmult_le_compat_r; [apply pow2_ge_0|]. nra.
Qed.

(** |g|^2 stays above a bound near a state where it is. *)
Lemma norm_near y B : B < (Σ k ∈ units, g y k ^ 2) -> exists d, 0 < d /\ forall z,
  (forall k, In k units -> Rabs (z k - y k) <= d) -> B < Σ k ∈ units, g z k ^ 2.
Proof.
  intros HB. destruct (list_bound units (fun k m => Rabs (y k) <= m)) as (m & Hm & Hb).
  { intros; lra. } { intros k _. eexists; apply Rle_refl. }
  set (M := 2 * m + 2).
  set (L := 4 * (p * exp (p * M)) * matrix_cost units alpha p J / tau).
  assert (L0 : 0 <= L) by apply (clip_bound M).
  set (W := Σ k ∈ units, Rabs (g y k)). assert (W0 : 0 <= W) by (apply sum_nonneg; intros; apply Rabs_pos).
  set (n := INR (length units)). assert (Hn : 0 <= n) by apply pos_INR.
  set (gap := (Σ k ∈ units, g y k ^ 2) - B). assert (Hgap : 0 < gap) by (unfold gap; lra).
  set (Q := tau * (L * n)). assert (Q0 : 0 <= Q) by (apply Rmult_le_pos; [lra|apply Rmult_le_pos; assumption]).
  set (d := Rmin 1 (gap / (2 * (2 * Q * W + 1)))).
  assert (QW : 0 <= 2 * Q * W) by (apply Rmult_le_pos; [apply Rmult_le_pos; [lra|exact Q0]|exact W0]).
  assert (Hd : 0 < d) by (apply Rmin_pos; [lra|apply Rdiv_lt_0_compat; lra]).
  exists d. split; [exact Hd|]. intros z Hz.
  assert (Un : forall w, (forall k, In k units -> Rabs (w k - y k) <= 1) -> forall k, In k units ->
    clipped_imbalance units alpha p J M w k = g w k).
  { intros w Hw k Hk. apply unclipped; [exact Hk|]. intros i j Hi Hj _. unfold M.
    pose proof (Hw i Hi) as A1. pose proof (Hw j Hj) as A2. pose proof (Hb i Hi) as A3. pose proof (Hb j Hj) as A4.
    apply Rabs_le_between in A1, A2, A3, A4. lra. }
  assert (Hz1 : forall k, In k units -> Rabs (z k - y k) <= 1).
  { intros k Hk. eapply Rle_trans; [apply Hz, Hk|apply Rmin_l]. }
  assert (Df : forall k, In k units -> Rabs (g z k - g y k) <= Q * d).
  { intros k Hk. pose proof (clip_lipschitz M 0 z y k Hk) as Lp. cbv beta in Lp. fold L in Lp.
    rewrite (Un z Hz1 k Hk), (Un y) in Lp by (try exact Hk; intros; rewrite Rminus_eq_0, Rabs_R0; lra).
    replace (g z k / tau - g y k / tau) with ((g z k - g y k) * / tau) in Lp by (field; lra).
    rewrite Rabs_mult, (Rabs_pos_eq (/ tau)) in Lp by (apply Rlt_le, Rinv_0_lt_compat, tau_pos).
    assert (Ds : distance units z y <= n * d).
    { unfold distance, n. rewrite <- sum_const. apply sum_le. exact Hz. }
    apply Rmult_le_compat_l with (r := tau) in Lp; [|lra].
    replace (tau * (Rabs (g z k - g y k) * / tau)) with (Rabs (g z k - g y k)) in Lp by (field; lra).
    eapply Rle_trans; [exact Lp|]. unfold Q. rewrite !Rmult_assoc. apply Rmult_le_compat_l; [lra|].
    apply Rmult_le_compat_l; [exact L0|exact Ds]. }
  assert (Low : (Σ k ∈ units, g y k ^ 2) - 2 * (Q * d) * W <= Σ k ∈ units, g z k ^ 2).
  { unfold W. rewrite <- sum_scal, <- sum_minus. apply sum_le. intros k Hk. specialize (Df k Hk).
    pose proof (pow2_ge_0 (g z k - g y k)). pose proof (Rabs_pos (g y k)).
    assert (Pr : - (Rabs (g y k) * Rabs (g z k - g y k)) <= g y k * (g z k - g y k)).
    { rewrite <- Rabs_mult. pose proof (Rabs_maj2 (g y k * (g z k - g y k))). lra. }
    assert (Rabs (g y k) * Rabs (g z k - g y k) <= Rabs (g y k) * (Q * d)) by (apply Rmult_le_compat_l; assumption). nra. }
  assert (Sm : 2 * (Q * d) * W < gap).
  { apply Rle_lt_trans with ((2 * Q * W + 1) * d); [lra|].
    assert (d <= gap / (2 * (2 * Q * W + 1))) by apply Rmin_r.
    apply Rle_lt_trans with ((2 * Q * W + 1) * (gap / (2 * (2 * Q * W + 1)))); [apply Rmult_le_compat_l; lra|].
    replace ((2 * Q * W + 1) * (gap / (2 * (2 * Q * W + 1)))) with (gap / 2) by (field; lra). lra. }
  unfold gap in Sm. lra.
Qed.

(** ** The theorem *)

(** The solution converges faster than at the rate mu. *)
Definition faster (mu : R) (h : R -> U -> R) : Prop := exists rate K, mu < rate /\
  forall t, 0 <= t -> (Σ k ∈ units, g (h t) k ^ 2) <= K * exp (- (2 * rate * t)).

Section Main.
Variables (lam : R) (v : U -> R).
Hypotheses (Hl : lambda_2 units c lam) (Hv : laplacian_eigenpair units c lam v).

Notation near_x h := (square units (fun k => h k - x k)).
Notation centred := (centred units J).

Lemma centred_v : centred v.
Proof.
  intros z Hz. pose proof (lam_pos eq_dec units alpha p J x nodup positive lam Hl) as Lp.
  pose proof (bilinear_v units alpha p J x lam v Hv z) as B. unfold bilinear in B.
  rewrite (sum_zero units) in B; [nra|]. intros i Hi. apply sum_zero. intros j Hj. fold c.
  destruct (Req_dec (J i j) 0) as [Z|N].
  - rewrite (proj1 (c_supported units alpha p J x positive i j Hi Hj) Z : c i j = 0). ring.
  - rewrite (Hz i j Hi Hj N). ring.
Qed.

(** Every solution comes near x. *)
Lemma comes_near h r : flows h -> centred (fun k => h 0 k - x k) -> 0 < r ->
  exists T, 0 <= T /\ near_x (h T) <= r ^ 2 /\ centred (fun k => h T k - x k).
Proof.
  intros Hh Hc Hr. pose proof (lam_pos eq_dec units alpha p J x nodup positive lam Hl) as Lp.
  assert (Ce : forall t, 0 <= t -> centred (fun k => h t k - x k)).
  { intros t Ht z Hz.
    pose proof (rule_keeps_scale_sums eq_dec units alpha p tau nodup p_pos (fun t => transformed (h t) J) h z t (flows_rule h Hh) Hh) as K.
    specialize (Hc z Hz).
    rewrite (sum_ext units _ (fun k => z k * h t k - z k * x k)) by (intros; ring). rewrite sum_minus, K; [|..].
    - rewrite <- sum_minus. transitivity (Σ k ∈ units, z k * (h 0 k - x k)); [|exact Hc]. apply sum_ext. intros; ring.
    - intros i j Hi Hj N. apply (Hz i j Hi Hj). intros Z. apply N. apply transformed_zero, Z.
    - exact Ht. }
  set (S := Σ i ∈ units, Σ j ∈ units, c i j).
  assert (S0 : 0 <= S).
  { apply sum_nonneg. intros i Hi. apply sum_nonneg. intros j Hj. apply (c_nonneg units alpha p J x positive i j Hi Hj). }
  set (e := Rmin (1 / 2) (lam * r ^ 2 / (4 * (S + 1)))).
  assert (Hr2 : 0 < r ^ 2) by (apply pow_lt, Hr).
  assert (He : 0 < e /\ e <= 1 / 2).
  { split; [|apply Rmin_l]. apply Rmin_pos; [lra|]. apply Rdiv_lt_0_compat; [apply Rmult_lt_0_compat; assumption|lra]. }
  assert (Lim : forall d : U * U, In d (synapses units J) ->
    Rbar_locally p_infty (fun t => Rabs ((h t (snd d) - x (snd d)) - (h t (fst d) - x (fst d))) < 2 * e)).
  { intros [i j] Hd. apply (synapses_in units alpha) in Hd as (Hi & Hj & N). simpl.
    set (y := fun k => x k - h 0 k).
    assert (Ty : transformed y (transformed (h 0) J) = transformed x J).
    { apply FunctionalExtensionality.functional_extensionality. intros m.
      apply FunctionalExtensionality.functional_extensionality. intros l. unfold transformed, y.
      transitivity ((exp (- (x m - h 0 m)) * exp (- h 0 m)) * J m l * (exp (h 0 l) * exp (x l - h 0 l))); [ring|].
      rewrite <- !exp_plus. replace (- (x m - h 0 m) + - h 0 m) with (- x m) by ring.
      replace (h 0 l + (x l - h 0 l)) with (x l) by ring. reflexivity. }
    destruct (matrix_converges_to eq_dec units alpha p tau nodup p_pos positive tau_pos (fun t => transformed (h t) J) y
      (flows_rule h Hh)) as (Lm & _).
    { cbv beta. rewrite Ty. exact balanced_x. }
    specialize (Lm i j Hi Hj). cbv beta in Lm. rewrite Ty in Lm.
    assert (Nx : transformed x J i j <> 0) by (intros Z; apply N, (transformed_zero x J i j), Z).
    assert (L1 : filterlim (fun t => / transformed x J i j * transformed (h t) J i j) (Rbar_locally p_infty) (locally 1)).
    { replace 1 with (/ transformed x J i j * transformed x J i j) by (field; exact Nx).
      apply scal_filterlim; [apply _|exact Lm]. }
    destruct (proj1 (filterlim_eps _ _ (Rbar_locally p_infty) _) L1 e (proj1 He)) as [T HT]. exists T. intros t Ht.
    specialize (HT t Ht). set (s := (h t j - x j) - (h t i - x i)) in *.
    assert (E : / transformed x J i j * transformed (h t) J i j = exp s).
    { unfold transformed, s. apply Rmult_eq_reg_l with (exp (- x i) * J i j * exp (x j)); [|exact Nx].
      rewrite <- Rmult_assoc, Rinv_r, Rmult_1_l by exact Nx.
      transitivity (J i j * (exp (- x i) * (exp (x j) * exp (h t j - x j - (h t i - x i))))); [|ring].
      rewrite <- !exp_plus. replace (- x i + (x j + (h t j - x j - (h t i - x i)))) with (- h t i + h t j) by ring.
      rewrite exp_plus. ring. }
    rewrite E in HT. apply Rabs_def2 in HT. pose proof (exp_ineq1_le s). pose proof (exp_ineq1_le (- s)) as E2.
    assert (E3 : exp s * exp (- s) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
    pose proof (exp_pos (- s)). apply Rabs_def1; [lra|]. assert (exp (- s) < 1 + 2 * e) by nra. lra. }
  pose proof (list_filter (synapses units J) _ (Rbar_locally p_infty) _ Lim) as [T0 HT0].
  set (T := Rmax 0 T0 + 1). exists T. assert (HT : 0 <= T /\ T0 < T).
  { unfold T. pose proof (Rmax_l 0 T0). pose proof (Rmax_r 0 T0). lra. }
  split; [apply HT|]. split; [|apply Ce, HT].
  specialize (HT0 T (proj2 HT)).
  pose proof (rayleigh eq_dec units alpha p J x nodup positive lam Hl (fun k => h T k - x k) (Ce T (proj1 HT))) as Ry.
  assert (B : bilinear units alpha p J x (fun k => h T k - x k) (fun k => h T k - x k) <= 4 * e * S).
  { unfold bilinear, S. rewrite <- sum_scal. apply sum_le. intros i Hi. rewrite <- sum_scal. apply sum_le. intros j Hj. fold c.
    pose proof (c_nonneg units alpha p J x positive i j Hi Hj) as Pc. fold c in Pc.
    destruct (Req_dec (J i j) 0) as [Z|N].
    - rewrite (proj1 (c_supported units alpha p J x positive i j Hi Hj) Z : c i j = 0). lra.
    - specialize (HT0 (i, j) ltac:(apply (synapses_in units alpha); auto)). simpl in HT0. apply Rabs_def2 in HT0.
      set (s := (h T j - x j) - (h T i - x i)) in *. replace (h T i - x i - (h T j - x j)) with (- s) by (unfold s; ring).
      assert (- s * - s <= 4 * e) by (destruct He; nra). nra. }
  assert (Fin : 4 * e * S <= lam * r ^ 2).
  { apply Rle_trans with (4 * (lam * r ^ 2 / (4 * (S + 1))) * (S + 1)); [|apply Req_le; field; lra].
    pose proof (Rmin_r (1 / 2) (lam * r ^ 2 / (4 * (S + 1)))) as Me. fold e in Me.
    apply Rmult_le_compat; lra. }
  apply Rmult_le_reg_l with lam; [exact Lp|]. unfold square. lra.
Qed.

Lemma faster_later mu h T : 0 <= T -> faster mu h -> faster mu (fun t => h (T + t)).
Proof.
  intros HT (rate & K & Hm & H). exists rate, (K * exp (- (2 * rate * T))). split; [exact Hm|]. intros t Ht.
  eapply Rle_trans; [apply H; lra|]. apply Req_le.
  replace (- (2 * rate * (T + t))) with (- (2 * rate * T) + - (2 * rate * t)) by ring. rewrite exp_plus. ring.
Qed.

(** [S.convergence]: arbitrarily near each start (given by its log-scales, with x in the same orbit under them)
    there is one from which the rule converges no faster than at the rate p lam_2 / tau. *)
Theorem slow_starts_dense (start : U -> R) e : centred (fun k => start k - x k) -> 0 < e ->
  exists h, flows h /\ (forall k, In k units -> Rabs (h 0 k - start k) <= e) /\ ~ faster (p * lam / tau) h.
Proof.
  intros Hc He.
  destruct (follows_exists eq_dec units alpha p tau J nodup p_pos tau_pos positive start) as (h & Hh & H0).
  destruct (classic (faster (p * lam / tau) h)) as [Fast|Slow].
  2: { exists h. split; [exact Hh|]. split; [|exact Slow]. intros k _. rewrite H0, Rminus_eq_0, Rabs_R0. lra. }
  destruct (at_most_one_faster eq_dec units alpha p tau J x nodup p_pos tau_pos positive balanced_x lam v Hl Hv)
    as (r & Hr & One).
  assert (Hc0 : centred (fun k => h 0 k - x k)).
  { intros z Hz. transitivity (Σ k ∈ units, z k * (start k - x k)); [|exact (Hc z Hz)].
    apply sum_ext. intros k _. rewrite H0. reflexivity. }
  destruct (comes_near h (r / 2) Hh Hc0 ltac:(lra)) as (T & HT & Near & HcT).
  destruct (clip_for (cost_of (h 0) * exp (2 * p))) as (M & HM & Enough).
  set (e1 := Rmin e 1). assert (He1 : 0 < e1 /\ e1 <= 1 /\ e1 <= e).
  { unfold e1. split; [apply Rmin_pos; lra|]. split; [apply Rmin_r|apply Rmin_l]. }
  set (X := exp (2 * (4 * (p * exp (p * M)) * matrix_cost units alpha p J / tau) * INR (length units) * T)).
  assert (HX : 0 < X) by apply exp_pos.
  assert (Sv : 0 <= square units v) by (apply sum_nonneg; intros; apply pow2_ge_0).
  set (q := Rmin 1 (Rmin (r ^ 2 / 4 / (square units v + 1)) (e1 ^ 2 / ((square units v + 1) * X)))).
  assert (Pq : 0 < q).
  { repeat apply Rmin_pos; [lra|..].
    - repeat apply Rdiv_lt_0_compat; try lra. apply pow_lt, Hr.
    - apply Rdiv_lt_0_compat; [apply pow_lt; lra|apply Rmult_lt_0_compat; lra]. }
  (* q is a multiple of v that is small enough; q^2 <= q *)
  assert (Q1 : q ^ 2 * square units v <= r ^ 2 / 4).
  { assert (q <= r ^ 2 / 4 / (square units v + 1)) by (eapply Rle_trans; [apply Rmin_r|apply Rmin_l]).
    assert (q <= 1) by apply Rmin_l.
    apply Rle_trans with (r ^ 2 / 4 / (square units v + 1) * (square units v + 1)); [|apply Req_le; field; lra].
    apply Rmult_le_compat; [apply pow2_ge_0|exact Sv|nra|lra]. }
  assert (Q2 : q ^ 2 * square units v * X <= e1 ^ 2).
  { assert (q <= e1 ^ 2 / ((square units v + 1) * X)) by (eapply Rle_trans; [apply Rmin_r|apply Rmin_r]).
    assert (q <= 1) by apply Rmin_l.
    apply Rle_trans with (e1 ^ 2 / ((square units v + 1) * X) * (square units v + 1) * X); [|apply Req_le; field; lra].
    apply Rmult_le_compat_r; [lra|]. apply Rmult_le_compat; [apply pow2_ge_0|exact Sv|nra|lra]. }
  assert (Sq : square units (fun k => (h T k + q * v k) - h T k) = q ^ 2 * square units v).
  { unfold square. rewrite <- sum_scal. apply sum_ext. intros; ring. }
  destruct (back_to_start M (cost_of (h 0) * exp (2 * p)) Enough h (fun k => h T k + q * v k) T e1 HT Hh (proj1 He1)
    (proj1 (proj2 He1)) (Rle_refl _)) as (h' & Hh' & Hn & HT').
  { rewrite Sq. exact Q2. }
  exists h'. split; [exact Hh'|]. split.
  { intros k Hk. rewrite <- H0. eapply Rle_trans; [apply Hn, Hk|lra]. }
  intros Fast'.
  destruct (faster_later _ h T HT Fast) as (r1 & K1 & R1 & F1). destruct (faster_later _ h' T HT Fast') as (r2 & K2 & R2 & F2).
  assert (Pm : forall u w, u <= w -> exp u <= exp w)
    by (intros u w [Hlt|Heq]; [apply Rlt_le, exp_increasing, Hlt|rewrite Heq; lra]).
  apply (One (fun t => h (T + t)) (fun t => h' (T + t)) q) with (rate := Rmin r1 r2) (K := Rmax 0 (Rmax K1 K2)).
  - apply flows_later; assumption.
  - apply flows_later; assumption.
  - rewrite Rplus_0_r. eapply Rle_trans; [exact Near|]. nra.
  - rewrite Rplus_0_r.
    apply Rle_trans with (2 * near_x (h T) + 2 * (q ^ 2 * square units v)).
    + unfold square. rewrite <- !sum_scal, <- sum_plus. apply sum_le. intros k Hk. rewrite (HT' k Hk).
      pose proof (pow2_ge_0 ((h T k - x k) - q * v k)). nra.
    + nra.
  - rewrite Rplus_0_r. exact HcT.
  - rewrite Rplus_0_r. intros z Hz. rewrite (sum_ext units _ (fun k => z k * (h T k - x k) + q * (z k * v k))).
    + rewrite sum_plus, sum_scal, (HcT z Hz), (centred_v z Hz). ring.
    + intros k Hk. rewrite (HT' k Hk). ring.
  - intros k Hk. rewrite Rplus_0_r, (HT' k Hk). ring.
  - lra.
  - apply Rmin_glb_lt; assumption.
  - intros t Ht. split; (eapply Rle_trans; [first [apply (F1 t Ht)|apply (F2 t Ht)]|]).
    + apply Rle_trans with (Rmax 0 (Rmax K1 K2) * exp (- (2 * r1 * t))).
      * apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|]. eapply Rle_trans; [apply Rmax_l|apply Rmax_r].
      * apply Rmult_le_compat_l; [apply Rmax_l|]. apply Pm. pose proof (Rmin_l r1 r2). nra.
    + apply Rle_trans with (Rmax 0 (Rmax K1 K2) * exp (- (2 * r2 * t))).
      * apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|].
        apply Rle_trans with (Rmax K1 K2); [apply Rmax_r|apply Rmax_r].
      * apply Rmult_le_compat_l; [apply Rmax_l|]. apply Pm. pose proof (Rmin_r r1 r2). nra.
Qed.

(** Starts from which |g|^2 exceeds n exp(- 2 (mu + 1 / (n + 1)) t) at some time. *)
Definition exceeds (n : nat) (start : U -> R) : Prop := exists h t, flows h /\ (forall k, h 0 k = start k) /\ 0 <= t /\
  INR n * exp (- (2 * (p * lam / tau + / (INR n + 1)) * t)) < Σ k ∈ units, g (h t) k ^ 2.

Lemma flows_unique h h' : flows h -> flows h' -> (forall k, In k units -> h' 0 k = h 0 k) ->
  forall t k, 0 <= t -> In k units -> h' t k = h t k.
Proof.
  intros Hh Hh' H0 t k Ht Hk. destruct (continuous_dependence h t Hh Ht) as (Q & _ & D).
  specialize (D h' 0 Hh' ltac:(lra)). assert (X : Rabs (h' t k - h t k) <= Q * 0).
  { apply D; [|exact Hk]. intros j Hj. rewrite (H0 j Hj), Rminus_eq_0, Rabs_R0. lra. }
  rewrite Rmult_0_r in X. pose proof (Rabs_pos (h' t k - h t k)) as P.
  destruct (Req_dec (h' t k - h t k) 0) as [E|E]; [lra|]. pose proof (Rabs_pos_lt _ E). lra.
Qed.

(** [S.convergence], for a generic start: the starts from which the rule converges no faster than at the rate
    p lam_2 / tau are those in all of countably many sets, each of them open, and dense in the orbit. *)
Theorem slow_starts_generic :
  (forall n start, exceeds n start -> exists e, 0 < e /\ forall start',
    (forall k, In k units -> Rabs (start' k - start k) <= e) -> exceeds n start') /\
  (forall n start e, centred (fun k => start k - x k) -> 0 < e -> exists start',
    (forall k, In k units -> Rabs (start' k - start k) <= e) /\ exceeds n start') /\
  (forall start, (forall n, exceeds n start) <->
    forall h, flows h -> (forall k, h 0 k = start k) -> ~ faster (p * lam / tau) h).
Proof.
  assert (Slow : forall h n, flows h -> ~ faster (p * lam / tau) h -> exceeds n (h 0)).
  { intros h n Hh Ns. apply NNPP. intros No. apply Ns. exists (p * lam / tau + / (INR n + 1)), (INR n). split.
    - pose proof (Rinv_0_lt_compat (INR n + 1) ltac:(pose proof (pos_INR n); lra)). lra.
    - intros t Ht. apply Rnot_lt_le. intros Lt. apply No. exists h, t. auto. }
  split; [|split].
  - intros n start (h & t & Hh & H0 & Ht & Lt). destruct (norm_near (h t) _ Lt) as (d & Hd & Nr).
    destruct (continuous_dependence h t Hh Ht) as (Q & HQ & D).
    assert (Hdq : 0 < d / Q) by (apply Rdiv_lt_0_compat; assumption).
    exists (Rmin 1 (d / Q)). split; [apply Rmin_pos; lra|]. intros start' Hs.
    destruct (follows_exists eq_dec units alpha p tau J nodup p_pos tau_pos positive start') as (h' & Hh' & H0').
    exists h', t. split; [exact Hh'|]. split; [exact H0'|]. split; [exact Ht|]. apply Nr. intros k Hk.
    apply Rle_trans with (Q * Rmin 1 (d / Q)).
    + apply (D h' (Rmin 1 (d / Q)) Hh'); [|intros j Hj; rewrite H0', H0; apply Hs, Hj|exact Hk].
      split; [apply Rlt_le, Rmin_pos; lra|apply Rmin_l].
    + apply Rle_trans with (Q * (d / Q)); [apply Rmult_le_compat_l; [lra|apply Rmin_r]|]. apply Req_le. field. lra.
  - intros n start e Hc He. destruct (slow_starts_dense start e Hc He) as (h & Hh & Hn & Ns).
    exists (h 0). split; [exact Hn|]. apply Slow; assumption.
  - intros start. split.
    + intros Ex h Hh H0 (rate & K & Hr & Fast). set (mu := p * lam / tau) in *.
      destruct (nfloor_ex (Rmax 0 (Rmax K (/ (rate - mu)))) (Rmax_l _ _)) as [n [_ Hn]].
      destruct (Ex (S n)) as (h' & t & Hh' & H0' & Ht & Lt). fold mu in Lt. rewrite S_INR in Lt.
      assert (N : K < INR n + 1 /\ / (rate - mu) < INR n + 1).
      { pose proof (Rmax_r 0 (Rmax K (/ (rate - mu)))). pose proof (Rmax_l K (/ (rate - mu))). pose proof (Rmax_r K (/ (rate - mu))). lra. }
      specialize (Fast t Ht).
      assert (Same : (Σ k ∈ units, g (h' t) k ^ 2) = Σ k ∈ units, g (h t) k ^ 2).
      { assert (E : forall k, In k units -> h' t k = h t k)
          by (intros k Hk; apply (flows_unique h h' Hh Hh'); [intros; rewrite H0, H0'; reflexivity|exact Ht|exact Hk]).
        apply sum_ext. intros k Hk. f_equal. unfold unit_imbalance, synapse_cost, transformed.
        f_equal; apply sum_ext; intros j Hj; rewrite !E by assumption; reflexivity. }
      rewrite Same in Lt.
      assert (Inv : / (INR n + 1 + 1) <= rate - mu).
      { rewrite <- (Rinv_inv (rate - mu)). apply Rinv_le_contravar; [apply Rinv_0_lt_compat; lra|lra]. }
      assert (Ex' : exp (- (2 * rate * t)) <= exp (- (2 * (mu + / (INR n + 1 + 1)) * t))).
      { assert (Y : - (2 * rate * t) <= - (2 * (mu + / (INR n + 1 + 1)) * t)) by nra.
        destruct Y as [Y|Y]; [apply Rlt_le, exp_increasing, Y|rewrite Y; lra]. }
      pose proof (exp_pos (- (2 * rate * t))). pose proof (pos_INR n).
      assert (K * exp (- (2 * rate * t)) <= (INR n + 1) * exp (- (2 * (mu + / (INR n + 1 + 1)) * t))); [|lra].
      apply Rle_trans with ((INR n + 1) * exp (- (2 * rate * t))); [apply Rmult_le_compat_r; lra|apply Rmult_le_compat_l; lra].
    + intros Ns n. destruct (follows_exists eq_dec units alpha p tau J nodup p_pos tau_pos positive start) as (h & Hh & H0).
      destruct (Slow h n Hh (Ns h Hh H0)) as (h' & t & Hh' & H0' & Ht & Lt). exists h', t. split; [exact Hh'|]. split; [|auto].
      intros k. rewrite H0'. apply H0.
Qed.

End Main.
End Dense.
