(** * The local rule has a solution, and one only

    Claim [S.convergence]: from each matrix the rule tau dJ_ij/dt = (g_j - g_i) J_ij has just one solution on
    [0, oo). In the log-scales the field grows exponentially; where a synapse would cost more than all do at
    the start it is made linear, and then Picard's theorem applies. The cost falls all the same, so no synapse
    ever gets there. *)

From Coq Require Import FunctionalExtensionality.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Stock Picard.

(** ** The exponential, linear from M on *)

Section Clipped.
Variables (p M : R).
Hypotheses (p_pos : 0 < p) (M_pos : 0 < M).

Definition clipped (x : R) : R := exp (p * Rmin x M).

Lemma clipped_below x : x <= M -> clipped x = exp (p * x).
Proof. intros H. unfold clipped. rewrite Rmin_left by exact H. reflexivity. Qed.

Lemma exp_difference u v b : u <= b -> v <= b -> Rabs (exp u - exp v) <= exp b * Rabs (u - v).
Proof.
  assert (X : forall u v, v <= u -> u <= b -> exp u - exp v <= exp b * (u - v)).
  { clear u v. intros u v Hvu Hub. pose proof (exp_ineq1_le (v - u)) as E.
    assert (Ev : exp v = exp u * exp (v - u)) by (rewrite <- exp_plus; f_equal; ring).
    pose proof (exp_pos u). assert (exp u <= exp b) by (destruct Hub as [H'| ->]; [apply Rlt_le, exp_increasing, H'|lra]).
    rewrite Ev. apply Rle_trans with (exp u * (u - v)); [nra|]. apply Rmult_le_compat_r; lra. }
  assert (Mono : forall u v, v <= u -> exp v <= exp u)
    by (intros u' v' [H| ->]; [apply Rlt_le, exp_increasing, H|lra]).
  intros Hu Hv. destruct (Rle_dec v u) as [H|H].
  - rewrite !Rabs_pos_eq by (try (specialize (Mono u v H)); lra). apply X; assumption.
  - rewrite (Rabs_minus_sym (exp u)), (Rabs_minus_sym u), !Rabs_pos_eq by (try (specialize (Mono v u ltac:(lra))); lra).
    apply X; lra.
Qed.

Lemma clipped_lipschitz x y : Rabs (clipped x - clipped y) <= p * exp (p * M) * Rabs (x - y).
Proof.
  unfold clipped. pose proof (Rmin_r x M). pose proof (Rmin_r y M).
  eapply Rle_trans; [apply (exp_difference _ _ (p * M)); apply Rmult_le_compat_l; lra|].
  rewrite <- Rmult_minus_distr_l, Rabs_mult, (Rabs_pos_eq p) by lra.
  assert (Rabs (Rmin x M - Rmin y M) <= Rabs (x - y)).
  { unfold Rmin. destruct (Rle_dec x M), (Rle_dec y M); split_Rabs; lra. }
  pose proof (exp_pos (p * M)).
  replace (exp (p * M) * (p * Rabs (Rmin x M - Rmin y M))) with (p * exp (p * M) * Rabs (Rmin x M - Rmin y M)) by ring.
  apply Rmult_le_compat_l; [apply Rmult_le_pos|]; lra.
Qed.

Lemma lipschitz_continuous (f : R -> R) K x : 0 <= K -> (forall x y, Rabs (f x - f y) <= K * Rabs (x - y)) -> continuous f x.
Proof.
  intros HK H. apply (filterlim_eps f (f x) (locally x) _). intros eps Heps.
  exists (mkposreal (eps / (K + 1)) ltac:(apply Rdiv_lt_0_compat; lra)). intros y Hy.
  apply Rabs_lt_between' in Hy. simpl in Hy.
  assert (Hd : Rabs (y - x) < eps / (K + 1)) by (apply Rabs_def1; lra).
  eapply Rle_lt_trans; [apply H|]. apply Rle_lt_trans with ((K + 1) * Rabs (y - x)).
  - apply Rmult_le_compat_r; [apply Rabs_pos|lra].
  - apply Rmult_lt_compat_l with (r := K + 1) in Hd; [|lra].
    replace ((K + 1) * (eps / (K + 1))) with eps in Hd by (field; lra). exact Hd.
Qed.

Lemma clipped_continuous x : continuous clipped x.
Proof.
  apply (lipschitz_continuous clipped (p * exp (p * M))); [|exact clipped_lipschitz].
  pose proof (exp_pos (p * M)). apply Rmult_le_pos; lra.
Qed.

(** The cost whose derivative it is. *)
Definition clipped_cost (x : R) : R := 1 + RInt (fun s => p * clipped s) 0 x.

Lemma clipped_cost_derive x : is_derive clipped_cost x (p * clipped x).
Proof.
  assert (C : forall s, continuous (fun s => p * clipped s) s).
  { intros s. apply (continuous_scal_r p clipped), clipped_continuous. }
  evar_last.
  - apply (is_derive_plus (fun _ => 1)); [apply @is_derive_const|].
    apply (is_derive_RInt (fun s => p * clipped s) (fun x => RInt (fun s => p * clipped s) 0 x) 0 x); [|apply C].
    apply filter_forall. intros s. apply (RInt_correct (fun s => p * clipped s)), (ex_RInt_continuous (fun s => p * clipped s)).
    intros; apply C.
  - unfold plus, zero; simpl. ring.
Qed.

Lemma clipped_cost_below x : x <= M -> clipped_cost x = exp (p * x).
Proof.
  intros Hx.
  destruct (MVT_gen (fun s => clipped_cost s - exp (p * s)) 0 x (fun s => p * clipped s - p * exp (p * s))) as (c & Hc & E).
  - intros s _. apply (is_derive_minus clipped_cost (fun s => exp (p * s))); [apply clipped_cost_derive|].
    auto_derive; [exact I|ring].
  - intros s _. apply continuity_pt_filterlim.
    apply (ex_derive_continuous (fun s => clipped_cost s - exp (p * s))). eexists.
    apply (is_derive_minus clipped_cost (fun s => exp (p * s))); [apply clipped_cost_derive|].
    auto_derive; [exact I|reflexivity].
  - assert (c <= M) by (unfold Rmax in Hc; destruct (Rle_dec 0 x); lra).
    rewrite (clipped_below c) in E by assumption.
    assert (Z : clipped_cost 0 = 1).
    { unfold clipped_cost. rewrite (RInt_point 0 (fun s => p * clipped s)). unfold zero; simpl. ring. }
    rewrite Z, Rmult_0_r, exp_0 in E. lra.
Qed.

Lemma clipped_cost_above x : M < x -> exp (p * M) < clipped_cost x.
Proof.
  intros Hx. rewrite <- (clipped_cost_below M) by lra.
  destruct (MVT_gen clipped_cost M x (fun s => p * clipped s)) as (c & Hc & E).
  - intros s _. apply clipped_cost_derive.
  - intros s _. apply continuity_pt_filterlim, (ex_derive_continuous clipped_cost). eexists. apply clipped_cost_derive.
  - assert (0 < p * clipped c) by (apply Rmult_lt_0_compat; [exact p_pos|apply exp_pos]). nra.
Qed.

Lemma clipped_cost_nonneg x : 0 <= clipped_cost x.
Proof.
  destruct (Rle_dec x M) as [H|H].
  - rewrite clipped_cost_below by exact H. apply Rlt_le, exp_pos.
  - pose proof (clipped_cost_above x ltac:(lra)). pose proof (exp_pos (p * M)). lra.
Qed.

End Clipped.

(** ** The rule *)

Section Rule.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p tau : R) (J0 : U -> U -> R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p) (tau_pos : 0 < tau).
Hypothesis nonneg : forall i j, In i units -> In j units -> 0 <= alpha i j.

Let a i j := synapse_cost alpha p J0 i j.
Let F0 := matrix_cost units alpha p J0.

Lemma a_pos i j : In i units -> In j units -> 0 <= a i j.
Proof. intros Hi Hj. apply Rmult_le_pos; [apply nonneg; assumption|apply apow_nonneg]. Qed.

Lemma sum_bound i j : In i units -> In j units -> a i j <= F0.
Proof.
  intros Hi Hj. apply Rle_trans with (Σ j ∈ units, a i j).
  - apply (sum_term units (a i)); [intros; apply a_pos; assumption|exact Hj].
  - apply (sum_term units (fun i => Σ j ∈ units, a i j)); [|exact Hi].
    intros x Hx. apply sum_nonneg. intros; apply a_pos; assumption.
Qed.

Lemma F0_nonneg : 0 <= F0.
Proof. apply sum_nonneg. intros i Hi. apply sum_nonneg. intros; apply a_pos; assumption. Qed.

(** From M on a synapse costs as much as all do at the start. *)
Lemma clip_exists : exists M, 0 < M /\ forall i j, In i units -> In j units -> a i j = 0 \/ F0 <= a i j * exp (p * M).
Proof.
  destruct (list_bound (all_pairs units) (fun e m => a (fst e) (snd e) = 0 \/ F0 <= a (fst e) (snd e) * exp (p * m)))
    as (M & HM & H).
  - intros [i j] m m' [Z|Hm] Hmm; [left; exact Z|]. right. simpl in *. eapply Rle_trans; [exact Hm|].
    destruct (Req_dec (a i j) 0) as [Z|Z]; [rewrite Z; lra|].
    destruct (Rle_dec 0 (a i j)) as [P|P].
    + apply Rmult_le_compat_l; [exact P|]. destruct Hmm as [Hlt|<-]; [|lra].
      apply Rlt_le, exp_increasing, Rmult_lt_compat_l; assumption.
    + exfalso. pose proof F0_nonneg. pose proof (exp_pos (p * m)). nra.
  - intros [i j] He. apply entries_in in He as [Hi Hj]. simpl.
    destruct (Req_dec (a i j) 0) as [Z|Z]; [exists 0; left; exact Z|].
    pose proof (a_pos i j Hi Hj). exists (F0 / (a i j * p)). right.
    pose proof (exp_ineq1_le (p * (F0 / (a i j * p)))) as E.
    replace (p * (F0 / (a i j * p))) with (F0 / a i j) in * by (field; lra).
    apply Rle_trans with (a i j * (1 + F0 / a i j)); [|apply Rmult_le_compat_l; lra].
    replace (a i j * (1 + F0 / a i j)) with (a i j + F0) by (field; lra). lra.
  - exists M. split; [exact HM|]. intros i j Hi Hj. apply (H (i, j)), entries_in. auto.
Qed.

Section Field.
Variable M : R.
Hypothesis M_pos : 0 < M.
Hypothesis M_enough : forall i j, In i units -> In j units -> a i j = 0 \/ F0 <= a i j * exp (p * M).

Notation q := (clipped p M).
Let S := Σ i ∈ units, Σ j ∈ units, a i j.

(** Imbalances, with the clipped costs. *)
Definition clipped_imbalance (h : U -> R) (k : U) : R :=
  (Σ j ∈ units, a k j * q (h j - h k)) - Σ j ∈ units, a j k * q (h k - h j).

Let field (t : R) (h : U -> R) (k : U) : R := clipped_imbalance h k / tau.

Lemma field_bound : 0 <= 4 * (p * exp (p * M)) * F0 / tau.
Proof.
  pose proof F0_nonneg. pose proof (exp_pos (p * M)).
  apply Rdiv_le_0_compat; [|exact tau_pos]. apply Rmult_le_pos; [|assumption].
  apply Rmult_le_pos; [lra|]. apply Rmult_le_pos; lra.
Qed.

Lemma field_is_lipschitz : lipschitz units field (4 * (p * exp (p * M)) * F0 / tau).
Proof.
  intros t y z k Hk. unfold field, clipped_imbalance. set (D := distance units y z). set (Q := p * exp (p * M)).
  assert (HQ : 0 <= Q) by (pose proof (exp_pos (p * M)); apply Rmult_le_pos; lra).
  assert (HD : forall j, In j units -> Rabs (y j - z j) <= D).
  { intros j Hj. apply (sum_term units (fun k => Rabs (y k - z k))); [intros; apply Rabs_pos|exact Hj]. }
  assert (D0 : 0 <= D) by apply distance_nonneg.
  assert (B : forall b i j, 0 <= b -> In i units -> In j units ->
    Rabs (b * (q (y j - y i) - q (z j - z i))) <= b * (2 * Q * D)).
  { intros b i j Hb Hi Hj. rewrite Rabs_mult, (Rabs_pos_eq b) by exact Hb. apply Rmult_le_compat_l; [exact Hb|].
    eapply Rle_trans; [apply clipped_lipschitz; assumption|]. fold Q.
    replace (2 * Q * D) with (Q * (D + D)) by ring. apply Rmult_le_compat_l; [exact HQ|].
    replace (y j - y i - (z j - z i)) with ((y j - z j) + - (y i - z i)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. apply Rplus_le_compat; apply HD; assumption. }
  replace (((Σ j ∈ units, a k j * q (y j - y k)) - (Σ j ∈ units, a j k * q (y k - y j))) / tau
    - ((Σ j ∈ units, a k j * q (z j - z k)) - (Σ j ∈ units, a j k * q (z k - z j))) / tau)
    with (((Σ j ∈ units, a k j * (q (y j - y k) - q (z j - z k)))
      + - (Σ j ∈ units, a j k * (q (y k - y j) - q (z k - z j)))) / tau).
  2: { rewrite (sum_ext units (fun j => a k j * (q (y j - y k) - q (z j - z k)))
         (fun j => a k j * q (y j - y k) - a k j * q (z j - z k))) by (intros; ring).
       rewrite (sum_ext units (fun j => a j k * (q (y k - y j) - q (z k - z j)))
         (fun j => a j k * q (y k - y j) - a j k * q (z k - z j))) by (intros; ring).
       rewrite !sum_minus. field. lra. }
  unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ tau)) by (apply Rlt_le, Rinv_0_lt_compat, tau_pos).
  replace (4 * Q * F0 * / tau * D) with ((F0 * (2 * Q * D) + F0 * (2 * Q * D)) * / tau) by ring.
  apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat, tau_pos|].
  assert (E0 : 0 <= 2 * Q * D) by (apply Rmult_le_pos; [lra|exact D0]).
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. apply Rplus_le_compat.
  - eapply Rle_trans; [apply sum_abs|]. apply Rle_trans with ((Σ j ∈ units, a k j) * (2 * Q * D)).
    + rewrite <- sum_scal_r. apply sum_le. intros j Hj. apply B; [apply a_pos|..]; assumption.
    + apply Rmult_le_compat_r; [exact E0|].
      apply (sum_term units (fun i => Σ j ∈ units, a i j)); [|exact Hk].
      intros x Hx. apply sum_nonneg. intros; apply a_pos; assumption.
  - eapply Rle_trans; [apply sum_abs|]. apply Rle_trans with ((Σ j ∈ units, a j k) * (2 * Q * D)).
    + rewrite <- sum_scal_r. apply sum_le. intros j Hj. apply B; [apply a_pos|..]; assumption.
    + apply Rmult_le_compat_r; [exact E0|]. apply sum_le. intros i Hi.
      apply (sum_term units (a i)); [intros; apply a_pos; assumption|exact Hk].
Qed.

Lemma field_is_continuous : continuous_field units field.
Proof.
  intros y Hy k t Hk.
  assert (C : forall i j, In i units -> In j units -> continuous (fun t => q (y t j - y t i)) t).
  { intros i j Hi Hj. apply (continuous_comp (fun t => y t j - y t i) q); [|apply clipped_continuous; assumption].
    apply (continuous_minus (fun t => y t j) (fun t => y t i)); apply Hy; assumption. }
  unfold field, clipped_imbalance, Rdiv.
  apply (continuous_ext (fun t => / tau * ((Σ j ∈ units, a k j * q (y t j - y t k))
    - Σ j ∈ units, a j k * q (y t k - y t j)))); [intros; apply Rmult_comm|].
  apply (continuous_scal_r (/ tau) (fun t => (Σ j ∈ units, a k j * q (y t j - y t k))
    - Σ j ∈ units, a j k * q (y t k - y t j))).
  apply (continuous_minus (fun t => Σ j ∈ units, a k j * q (y t j - y t k))
    (fun t => Σ j ∈ units, a j k * q (y t k - y t j))).
  - apply (sum_continuous units (fun j t => a k j * q (y t j - y t k))). intros j Hj.
    apply (continuous_scal_r (a k j) (fun t => q (y t j - y t k))), C; assumption.
  - apply (sum_continuous units (fun j t => a j k * q (y t k - y t j))). intros j Hj.
    apply (continuous_scal_r (a j k) (fun t => q (y t k - y t j))), C; assumption.
Qed.

(** The costs of the transformed matrix. *)
Lemma cost_transformed h i j : synapse_cost alpha p (transformed h J0) i j = a i j * exp (p * (h j - h i)).
Proof.
  unfold a, synapse_cost, transformed.
  replace (exp (- h i) * J0 i j * exp (h j)) with (exp (h j - h i) * J0 i j) by (unfold Rminus; rewrite exp_plus; ring).
  rewrite power_cost_is. unfold power_cost. ring.
Qed.

(** Where no synapse has gone beyond M, nothing is clipped. *)
Lemma unclipped h k : In k units ->
  (forall i j, In i units -> In j units -> a i j <> 0 -> h j - h i <= M) ->
  clipped_imbalance h k = unit_imbalance units alpha p (transformed h J0) k.
Proof.
  intros Hk H.
  assert (E : forall i j, In i units -> In j units ->
    a i j * q (h j - h i) = synapse_cost alpha p (transformed h J0) i j).
  { intros i j Hi Hj. rewrite cost_transformed. destruct (Req_dec (a i j) 0) as [Z|Z]; [rewrite Z; ring|].
    rewrite clipped_below by (apply H; assumption). reflexivity. }
  unfold clipped_imbalance, unit_imbalance. f_equal; apply sum_ext; intros; apply E; assumption.
Qed.

Section Solution.
Variable h : R -> U -> R.
Hypothesis start : forall k, h 0 k = 0.
Hypothesis flow : solves units field h.

(** The clipped cost falls, *)
Lemma clipped_falls t : 0 <= t ->
  (Σ i ∈ units, Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i)) <= F0.
Proof.
  intros Ht. set (F := fun t => Σ i ∈ units, Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i)).
  assert (Z : F 0 = F0).
  { apply sum_ext. intros i _. apply sum_ext. intros j _. rewrite !start, Rminus_eq_0.
    rewrite clipped_cost_below by lra. rewrite Rmult_0_r, exp_0. fold (a i j). ring. }
  fold (F t). rewrite <- Z.
  apply (nonincreasing F (fun t => - p * tau * Σ k ∈ units, field t (h t) k ^ 2)); [| |lra].
  - intros s Hs. split.
    + evar_last.
      * apply (sum_derive units (fun i s => Σ j ∈ units, a i j * clipped_cost p M (h s j - h s i))
          (fun i => Σ j ∈ units, a i j * ((field s (h s) j - field s (h s) i) * (p * q (h s j - h s i))))).
        intros i Hi. apply (sum_derive units (fun j s => a i j * clipped_cost p M (h s j - h s i))). intros j Hj.
        apply (is_derive_scal (fun s => clipped_cost p M (h s j - h s i))).
        apply (is_derive_comp (clipped_cost p M) (fun s => h s j - h s i)); [apply clipped_cost_derive; assumption|].
        apply (is_derive_minus (fun s => h s j) (fun s => h s i)); apply flow; assumption.
      * set (f := field s (h s)). set (c := fun i j => a i j * q (h s j - h s i)).
        assert (G : forall k, tau * f k = (Σ j ∈ units, c k j) - Σ j ∈ units, c j k).
        { intros k. unfold f, field, clipped_imbalance, c. field. lra. }
        transitivity (p * ((Σ j ∈ units, f j * Σ i ∈ units, c i j) - Σ i ∈ units, f i * Σ j ∈ units, c i j)).
        -- rewrite (sum_ext units (fun j => f j * Σ i ∈ units, c i j) (fun j => Σ i ∈ units, f j * c i j))
             by (intros; rewrite sum_scal; reflexivity).
           rewrite (sum_swap units units (fun j i => f j * c i j)), <- sum_minus, <- sum_scal. apply sum_ext. intros i _.
           rewrite <- sum_scal, <- sum_minus, <- sum_scal. apply sum_ext. intros j _. unfold c. ring.
        -- rewrite <- sum_minus, <- !sum_scal. apply sum_ext. intros k _. specialize (G k).
           transitivity (- p * (f k * (tau * f k))); [rewrite G|]; ring.
    + assert (0 <= Σ k ∈ units, field s (h s) k ^ 2) by (apply sum_nonneg; intros; apply pow2_ge_0).
      assert (0 <= p * tau * Σ k ∈ units, field s (h s) k ^ 2) by (repeat apply Rmult_le_pos; lra). lra.
  - apply (sum_filterlim units (fun i t => Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i))); [apply _|].
    intros i Hi. apply (sum_filterlim units (fun j t => a i j * clipped_cost p M (h t j - h t i))); [apply _|].
    intros j Hj. apply scal_filterlim; [apply _|].
    apply (comp_filterlim (clipped_cost p M) (fun t => h t j - h t i)).
    + eapply (filterlim_comp_2 (fun t => h t j) (fun t => - h t i) Rplus).
      * apply flow, Hj.
      * apply (comp_filterlim Ropp (fun t => h t i)); [apply flow, Hi|].
        apply (ex_derive_continuous Ropp). auto_derive. exact I.
      * apply (filterlim_plus (h 0 j) (- h 0 i)).
    + apply (ex_derive_continuous (clipped_cost p M)). eexists. apply clipped_cost_derive; assumption.
Qed.

(** so no synapse goes beyond M. *)
Lemma never_clipped t i j : 0 <= t -> In i units -> In j units -> a i j <> 0 -> h t j - h t i <= M.
Proof.
  intros Ht Hi Hj Hz. apply Rnot_lt_le. intros N. pose proof (clipped_falls t Ht) as Fall.
  assert (Pos : 0 < a i j) by (pose proof (a_pos i j Hi Hj); lra).
  pose proof (clipped_cost_above p M p_pos M_pos _ N) as Above.
  destruct (M_enough i j Hi Hj) as [Z|Enough]; [contradiction|].
  assert (T : a i j * clipped_cost p M (h t j - h t i)
    <= Σ i ∈ units, Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i)).
  { apply Rle_trans with (Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i)).
    - apply (sum_term units (fun j => a i j * clipped_cost p M (h t j - h t i))); [|exact Hj].
      intros x Hx. apply Rmult_le_pos; [apply a_pos; assumption|apply clipped_cost_nonneg; assumption].
    - apply (sum_term units (fun i => Σ j ∈ units, a i j * clipped_cost p M (h t j - h t i))); [|exact Hi].
      intros x Hx. apply sum_nonneg. intros y Hy.
      apply Rmult_le_pos; [apply a_pos; assumption|apply clipped_cost_nonneg; assumption]. }
  nra.
Qed.

Lemma solution_of_rule : stock_rule units alpha p tau (fun t => transformed (h t) J0).
Proof.
  intros i j Hi Hj. split.
  - unfold transformed. apply mult_filterlim; [apply _| |].
    + apply mult_filterlim; [apply _| |apply filterlim_const].
      apply (comp_filterlim (fun x => exp (- x)) (fun t => h t i)); [apply flow, Hi|].
      apply (ex_derive_continuous (fun x => exp (- x))). auto_derive. exact I.
    + apply (comp_filterlim exp (fun t => h t j)); [apply flow, Hj|apply continuous_exp].
  - intros t Ht.
    assert (G : forall k, In k units -> unit_imbalance units alpha p (transformed (h t) J0) k = clipped_imbalance (h t) k).
    { intros k Hk. symmetry. apply unclipped; [exact Hk|]. intros; apply never_clipped; [lra|assumption..]. }
    rewrite !G by assumption. unfold transformed. evar_last.
    + apply (is_derive_mult (fun t => exp (- h t i) * J0 i j) (fun t => exp (h t j))).
      * apply (is_derive_ext (fun t => J0 i j * exp (- h t i))); [intros; apply Rmult_comm|].
        apply (is_derive_scal (fun t => exp (- h t i))).
        apply (is_derive_comp (fun x => exp (- x)) (fun t => h t i)); [|apply flow; assumption].
        auto_derive; [exact I|reflexivity].
      * apply (is_derive_comp exp (fun t => h t j)); [apply is_derive_exp|apply flow; assumption].
      * intros; apply Rmult_comm.
    + unfold plus, mult, scal; simpl; unfold mult; simpl. unfold field. field. lra.
Qed.

End Solution.
End Field.

(** [S.convergence]: from each matrix the rule has a solution at all times. *)
Theorem rule_solution_exists : exists J, stock_rule units alpha p tau J /\ forall i j, J 0 i j = J0 i j.
Proof.
  destruct clip_exists as (M & HM & Enough).
  destruct (solution_exists units _ _ (field_bound M) (field_is_lipschitz M) (field_is_continuous M) (fun _ => 0))
    as (h & Hh & H0).
  exists (fun t => transformed (h t) J0). split; [apply (solution_of_rule M HM Enough h H0 Hh)|].
  intros i j. unfold transformed. rewrite !H0, Ropp_0, exp_0. ring.
Qed.

(** And it is the only one. *)
Theorem rule_solution_unique J K : stock_rule units alpha p tau J -> stock_rule units alpha p tau K ->
  (forall i j, In i units -> In j units -> J 0 i j = J0 i j) ->
  (forall i j, In i units -> In j units -> K 0 i j = J0 i j) ->
  forall t i j, 0 <= t -> In i units -> In j units -> J t i j = K t i j.
Proof.
  intros HJ HK EJ EK. destruct clip_exists as (M & HM & Enough).
  assert (X : forall J, stock_rule units alpha p tau J ->
    (forall i j, In i units -> In j units -> J 0 i j = J0 i j) ->
    exists h, (forall k, h 0 k = 0) /\ solves units (fun _ h k => clipped_imbalance M h k / tau) h /\
      forall t i j, 0 <= t -> In i units -> In j units -> J t i j = transformed (h t) J0 i j).
  { clear J K HJ HK EJ EK. intros J HJ EJ.
    destruct (rule_transforms eq_dec units alpha p tau nodup p_pos J HJ) as (h & H0 & Dh & Hr).
    assert (Hr' : forall t i j, 0 <= t -> In i units -> In j units -> J t i j = transformed (h t) J0 i j).
    { intros t i j Ht Hi Hj. rewrite (Hr t i j Ht Hi Hj). unfold transformed. rewrite EJ by assumption. reflexivity. }
    assert (Cost : forall t i j, 0 <= t -> In i units -> In j units ->
      synapse_cost alpha p (J t) i j = a i j * exp (p * (h t j - h t i))).
    { intros t i j Ht Hi Hj. rewrite <- cost_transformed. unfold synapse_cost. rewrite (Hr' t i j Ht Hi Hj). reflexivity. }
    assert (Fall : forall t, 0 <= t -> matrix_cost units alpha p (J t) <= F0).
    { intros t Ht.
      assert (Z : matrix_cost units alpha p (J 0) = F0).
      { apply sum_ext. intros i Hi. apply sum_ext. intros j Hj. unfold synapse_cost. rewrite EJ by assumption. reflexivity. }
      rewrite <- Z. apply (rule_cost_falls eq_dec units alpha p tau nodup p_pos J 0 t tau_pos HJ). lra. }
    assert (Below : forall t i j, 0 <= t -> In i units -> In j units -> a i j <> 0 -> h t j - h t i <= M).
    { intros t i j Ht Hi Hj Hz. apply Rnot_lt_le. intros N. specialize (Fall t Ht).
      assert (Pos : 0 < a i j) by (pose proof (a_pos i j Hi Hj); lra).
      destruct (Enough i j Hi Hj) as [Z|E]; [contradiction|].
      assert (T : a i j * exp (p * (h t j - h t i)) <= matrix_cost units alpha p (J t)).
      { rewrite <- (Cost t i j Ht Hi Hj).
        assert (P : forall x y, In x units -> In y units -> 0 <= synapse_cost alpha p (J t) x y).
        { intros x y Hx Hy. apply Rmult_le_pos; [apply nonneg; assumption|apply apow_nonneg]. }
        apply Rle_trans with (Σ j ∈ units, synapse_cost alpha p (J t) i j).
        - apply (sum_term units (synapse_cost alpha p (J t) i)); [intros; apply P; assumption|exact Hj].
        - apply (sum_term units (fun i => Σ j ∈ units, synapse_cost alpha p (J t) i j)); [|exact Hi].
          intros x Hx. apply sum_nonneg. intros; apply P; assumption. }
      assert (exp (p * M) < exp (p * (h t j - h t i))) by (apply exp_increasing, Rmult_lt_compat_l; assumption).
      nra. }
    exists h. split; [exact H0|]. split; [|exact Hr'].
    intros k Hk. split; [apply Dh, Hk|]. intros t Ht. evar_last; [apply (proj2 (Dh k Hk) t Ht)|]. f_equal.
    rewrite (unclipped M (h t) k Hk) by (intros; apply Below; [lra|assumption..]).
    unfold unit_imbalance. f_equal; apply sum_ext; intros j Hj; unfold synapse_cost;
      rewrite Hr' by (try assumption; lra); reflexivity. }
  destruct (X J HJ EJ) as (h & H0 & Sh & Hh). destruct (X K HK EK) as (h' & H0' & Sh' & Hh').
  intros t i j Ht Hi Hj. rewrite Hh, Hh' by assumption.
  assert (E : forall k, In k units -> h t k = h' t k).
  { intros k Hk. apply (solution_unique units (fun _ h k => clipped_imbalance M h k / tau) _ (field_bound M)
      (field_is_lipschitz M)); try assumption. intros m _. rewrite H0, H0'. reflexivity. }
  unfold transformed. rewrite !E by assumption. reflexivity.
Qed.

End Rule.
