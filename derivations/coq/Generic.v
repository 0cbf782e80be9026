(** * Near the limit the rate is lam_2, but for a thin set of starts

    Claim [S.convergence]: near a balanced state, of the starts on a line in the direction of an eigenvector of
    lam_2 at most one converges faster than at the rate p lam_2 / tau. So no open set of starts near it does. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Stock Solutions
  Laplacian Rate Osborne.

(** exp is nearly linear near 0. *)
Lemma exp_nearly_linear p m s s' : 0 < p -> p * m <= 1 -> Rabs s <= m -> Rabs s' <= m ->
  Rabs (exp (p * s') - exp (p * s) - p * (s' - s)) <= 3 * p * m * (p * Rabs (s' - s)).
Proof.
  intros Hp Hm Hs Hs'. apply Rabs_le_between in Hs, Hs'.
  destruct (MVT_gen (fun s => exp (p * s)) s s' (fun s => p * exp (p * s))) as (c & Hc & E).
  - intros y _. auto_derive; [exact I|ring].
  - intros y _. apply continuity_pt_filterlim, (ex_derive_continuous (fun s => exp (p * s))). auto_derive. exact I.
  - assert (B : - m <= c <= m) by (unfold Rmin, Rmax in Hc; destruct (Rle_dec s s'); lra).
    cbv beta in E. rewrite E. replace (p * exp (p * c) * (s' - s) - p * (s' - s)) with ((exp (p * c) - 1) * (p * (s' - s))) by ring.
    rewrite Rabs_mult, (Rabs_mult p), (Rabs_pos_eq p) by lra.
    apply Rmult_le_compat_r; [apply Rmult_le_pos; [lra|apply Rabs_pos]|].
    assert (Hm0 : 0 <= p * m) by nra.
    assert (Hb : - (p * m) <= p * c <= p * m) by nra.
    pose proof (exp_ineq1_le (p * c)) as L1.
    assert (L2 : exp (p * c) - 1 <= 3 * (p * m)).
    { pose proof (exp_ineq1_le (- (p * c))) as L. pose proof (exp_pos (p * c)).
      assert (E1 : exp (p * c) * exp (- (p * c)) = 1) by (rewrite <- exp_plus, Rplus_opp_r; apply exp_0).
      assert (E3 : exp (p * c) <= 3).
      { apply Rle_trans with (exp 1); [|apply exp_le_3]. destruct (Req_dec (p * c) 1) as [->|]; [lra|].
        apply Rlt_le, exp_increasing. lra. }
      destruct (Rle_dec 0 (p * c)) as [P|P]; [|nra]. assert (exp (p * c) - 1 <= exp (p * c) * (p * c)) by nra.
      assert (exp (p * c) * (p * c) <= 3 * (p * c)) by (apply Rmult_le_compat_r; lra). lra. }
    apply Rabs_le. lra.
Qed.

Section Generic.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p tau : R) (J : U -> U -> R) (x : U -> R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p) (tau_pos : 0 < tau).
Hypothesis positive : forall i j, In i units -> In j units -> 0 < alpha i j.
Hypothesis balanced_x : matrix_balanced units alpha p (transformed x J).

Notation g h := (unit_imbalance units alpha p (transformed h J)).
Let c := synapse_cost alpha p (transformed x J).

(** Log-scales that follow tau dh/dt = g, as those of the rule do. *)
Definition follows (h : R -> U -> R) : Prop := forall k, In k units ->
  filterlim (fun t => h t k) (at_right 0) (locally (h 0 k)) /\
  forall t, 0 < t -> is_derive (fun s => h s k) t (g (h t) k / tau).

(** There is one from every start. *)
Lemma follows_exists (start : U -> R) : exists h, follows h /\ forall k, h 0 k = start k.
Proof.
  destruct (rule_solution_exists units alpha p tau (transformed start J) p_pos tau_pos) as (K & HK & K0).
  { intros i j Hi Hj. apply Rlt_le, positive; assumption. }
  destruct (rule_transforms eq_dec units alpha p tau nodup p_pos K HK) as (h & H0 & Dh & Hr).
  exists (fun t k => start k + h t k). split; [|intros k; rewrite H0; ring].
  intros k Hk. destruct (Dh k Hk) as [R0 D]. split.
  - apply (comp_filterlim (fun y => start k + y) (fun t => h t k)); [exact R0|].
    apply (ex_derive_continuous (fun y => start k + y)). auto_derive. exact I.
  - intros t Ht. evar_last; [apply (is_derive_plus (fun _ => start k) (fun s => h s k)); [apply @is_derive_const|apply D, Ht]|].
    unfold plus, zero; simpl. rewrite Rplus_0_l. f_equal.
    assert (E : forall i j, In i units -> In j units -> K t i j = transformed (fun k => start k + h t k) J i j).
    { intros i j Hi Hj. rewrite (Hr t i j (Rlt_le _ _ Ht) Hi Hj). unfold transformed. rewrite K0. unfold transformed.
      rewrite Ropp_plus_distr, !exp_plus. ring. }
    unfold unit_imbalance, synapse_cost. f_equal; apply sum_ext; intros j Hj; rewrite E by assumption; reflexivity.
Qed.

Notation pairs f := (Σ i ∈ units, Σ j ∈ units, f i j).

Lemma c_nonneg i j : In i units -> In j units -> 0 <= c i j.
Proof. intros Hi Hj. apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. Qed.

Lemma pairs_le (f f' : U -> U -> R) : (forall i j, In i units -> In j units -> f i j <= f' i j) -> pairs f <= pairs f'.
Proof. intros H. apply sum_le. intros i Hi. apply sum_le. intros j Hj. apply H; assumption. Qed.

Lemma pairs_plus (f f' : U -> U -> R) : pairs (fun i j => f i j + f' i j) = pairs f + pairs f'.
Proof. rewrite <- sum_plus. apply sum_ext. intros i _. apply sum_plus. Qed.

Lemma pairs_scal a (f : U -> U -> R) : pairs (fun i j => a * f i j) = a * pairs f.
Proof. rewrite <- sum_scal. apply sum_ext. intros i _. apply sum_scal. Qed.

Lemma pairs_abs (f : U -> U -> R) : Rabs (pairs f) <= pairs (fun i j => Rabs (f i j)).
Proof. eapply Rle_trans; [apply sum_abs|]. apply sum_le. intros i _. apply sum_abs. Qed.

Definition bilinear (d z : U -> R) : R := pairs (fun i j => c i j * ((d i - d j) * (z i - z j))).

Lemma pairing h z : (Σ k ∈ units, z k * g h k)
  = pairs (fun i j => c i j * exp (p * ((h j - x j) - (h i - x i))) * (z i - z j)).
Proof.
  rewrite imbalance_pairing. apply sum_ext. intros i _. apply sum_ext. intros j _.
  rewrite (cost_moved alpha p x h J i j). reflexivity.
Qed.

(** g(h') - g(h) is nearly - p Lap(c + c^T) (h' - h). *)
Lemma nearly_linear h h' z m : p * m <= 1 ->
  (forall i j, In i units -> In j units -> Rabs ((h j - x j) - (h i - x i)) <= m /\ Rabs ((h' j - x j) - (h' i - x i)) <= m) ->
  Rabs ((Σ k ∈ units, z k * (g h' k - g h k)) + p * bilinear (fun k => h' k - h k) z)
  <= 3 * p * m * (p * pairs (fun i j => c i j * (Rabs ((h' i - h i) - (h' j - h j)) * Rabs (z i - z j)))).
Proof.
  intros Hm H.
  rewrite (sum_ext units _ (fun k => z k * g h' k - z k * g h k)) by (intros; ring).
  rewrite sum_minus, !pairing. unfold bilinear. rewrite <- !pairs_scal.
  assert (E : pairs (fun i j => c i j * exp (p * ((h' j - x j) - (h' i - x i))) * (z i - z j))
    - pairs (fun i j => c i j * exp (p * ((h j - x j) - (h i - x i))) * (z i - z j))
    + pairs (fun i j => p * (c i j * (((h' i - h i) - (h' j - h j)) * (z i - z j))))
    = pairs (fun i j => (c i j * (z i - z j)) * (exp (p * ((h' j - x j) - (h' i - x i))) - exp (p * ((h j - x j) - (h i - x i)))
        - p * (((h' j - x j) - (h' i - x i)) - ((h j - x j) - (h i - x i)))))).
  { rewrite <- sum_minus, <- sum_plus. apply sum_ext. intros i _. rewrite <- sum_minus, <- sum_plus. apply sum_ext.
    intros j _. ring. }
  rewrite E. eapply Rle_trans; [apply pairs_abs|]. apply pairs_le. intros i j Hi Hj.
  destruct (H i j Hi Hj) as [H1 H2]. rewrite !Rabs_mult, (Rabs_pos_eq (c i j)) by (apply c_nonneg; assumption).
  pose proof (exp_nearly_linear p m _ _ p_pos Hm H1 H2) as L.
  replace (((h' j - x j) - (h' i - x i)) - ((h j - x j) - (h i - x i))) with (- ((h' i - h i) - (h' j - h j))) in L at 2 by ring.
  rewrite Rabs_Ropp in L.
  apply Rle_trans with (c i j * Rabs (z i - z j) * (3 * p * m * (p * Rabs ((h' i - h i) - (h' j - h j))))).
  - apply Rmult_le_compat_l; [apply Rmult_le_pos; [apply c_nonneg; assumption|apply Rabs_pos]|exact L].
  - apply Req_le. ring.
Qed.

Section Eigenvector.
Variables (lam : R) (v : U -> R).
Hypotheses (Hl : lambda_2 units c lam) (Hv : laplacian_eigenpair units c lam v).

Let mu := p * lam / tau.

(** No part along a component: zero sums with all that is equal at both ends of each synapse. *)
Definition centred (d : U -> R) : Prop := forall z : U -> R,
  (forall i j, In i units -> In j units -> J i j <> 0 -> z i = z j) -> (Σ k ∈ units, z k * d k) = 0.

Lemma c_supported : supported units J c.
Proof. apply (costs_supported units alpha p positive J). intros i j _ _. apply transformed_zero. Qed.

Lemma lam_pos : 0 < lam.
Proof. apply (lambda_2_bounds eq_dec units alpha p nodup J c c_supported lam Hl). Qed.

Lemma mu_pos : 0 < mu.
Proof. unfold mu. apply Rdiv_lt_0_compat; [apply Rmult_lt_0_compat; [exact p_pos|apply lam_pos]|exact tau_pos]. Qed.

Lemma rayleigh d : centred d -> lam * (Σ k ∈ units, d k ^ 2) <= bilinear d d.
Proof.
  intros Hd.
  destruct (span_or_functional (pair_eq_dec eq_dec) units (fun k e => incidence eq_dec pre post e k) (synapses units J)
    (edges_nodup units alpha nodup J) d) as [[y Hy]|(b & Hb & Hb1)].
  - pose proof (proj1 (lambda_2_is eq_dec units alpha nodup J c c_supported lam)) as X.
    assert (Le : least_nonzero_eigenvalue (synapses units J) units (incidence eq_dec pre post) (fun e => c (fst e) (snd e)) lam)
      by (apply (lambda_2_is eq_dec units alpha nodup J c c_supported lam), Hl).
    destruct (least_eigenvalue_bounds (pair_eq_dec eq_dec) (synapses units J) units (incidence eq_dec pre post)
      (fun e => c (fst e) (snd e)) (edges_nodup units alpha nodup J) (weight_pos units alpha J c c_supported) lam Le) as [_ B].
    specialize (B y).
    assert (Sp : forall k, In k units -> spread (synapses units J) (incidence eq_dec pre post) y k = d k)
      by (intros k Hk; rewrite <- (Hy k Hk); reflexivity).
    rewrite (form_ext _ _ _ _ _ d Sp) in B.
    rewrite (dot_ext units _ d _ d Sp Sp) in B.
    rewrite (weighted_form_is eq_dec units alpha nodup J c c_supported) in B.
    eapply Rle_trans; [|eapply Rle_trans; [exact B|]]; apply Req_le.
    + f_equal. apply sum_ext. intros; ring.
    + apply sum_ext. intros i _. apply sum_ext. intros j _. ring.
  - exfalso. rewrite (Hd b) in Hb1; [lra|]. intros i j Hi Hj N.
    assert (He : In (i, j) (synapses units J)) by (apply (synapses_in units alpha); auto).
    specialize (Hb (i, j) He). change (log_scale units (incidence eq_dec pre post) b (i, j) = 0) in Hb.
    rewrite (entry_scale eq_dec units alpha nodup b (i, j)) in Hb by (apply in_entries with J, He). simpl in Hb. lra.
Qed.

Lemma bilinear_v d : bilinear d v = lam * Σ k ∈ units, d k * v k.
Proof.
  transitivity (Σ i ∈ units, d i * weighted_laplacian units c v i).
  - unfold bilinear, weighted_laplacian.
    transitivity (pairs (fun i j => d i * (c i j * (v i - v j))) + pairs (fun i j => d j * (c i j * (v j - v i)))).
    + rewrite <- pairs_plus. apply sum_ext. intros i _. apply sum_ext. intros; ring.
    + rewrite (sum_swap units units (fun i j => d j * (c i j * (v j - v i)))), <- pairs_plus. apply sum_ext. intros i _.
      rewrite <- sum_scal. apply sum_ext. intros; ring.
  - rewrite <- sum_scal. apply sum_ext. intros k Hk. destruct Hv as [_ H]. rewrite (H k Hk). ring.
Qed.

(** The squared distance to x, and of two solutions. *)
Definition square (d : U -> R) : R := Σ k ∈ units, d k ^ 2.

Lemma square_bound d k : In k units -> d k ^ 2 <= square d.
Proof. intros Hk. apply (sum_term units (fun k => d k ^ 2)); [intros; apply pow2_ge_0|exact Hk]. Qed.

Lemma abs_bound d k b : In k units -> 0 <= b -> square d <= b ^ 2 -> Rabs (d k) <= b.
Proof.
  intros Hk Hb H. apply Rnot_lt_le. intros N. pose proof (square_bound d k Hk) as B.
  rewrite <- (pow2_abs (d k)) in B. pose proof (Rabs_pos (d k)). nra.
Qed.

Lemma difference_bound d b i j : In i units -> In j units -> 0 <= b -> square d <= b ^ 2 -> Rabs (d j - d i) <= 2 * b.
Proof.
  intros Hi Hj Hb H. pose proof (abs_bound d i b Hi Hb H). pose proof (abs_bound d j b Hj Hb H).
  pose proof (Rabs_triang (d j) (- d i)) as T. rewrite Rabs_Ropp in T. unfold Rminus. lra.
Qed.

Lemma square_derive (d dd : R -> U -> R) t : (forall k, In k units -> is_derive (fun s => d s k) t (dd t k)) ->
  is_derive (fun s => square (d s)) t (2 * Σ k ∈ units, d t k * dd t k).
Proof.
  intros H. rewrite <- sum_scal. apply (sum_derive units (fun k s => d s k ^ 2)). intros k Hk. evar_last.
  - apply (is_derive_comp (fun y => y ^ 2) (fun s => d s k)); [|apply H, Hk]. auto_derive; [exact I|reflexivity].
  - unfold scal; simpl; unfold mult; simpl. ring.
Qed.

Lemma square_right (d : R -> U -> R) : (forall k, In k units -> filterlim (fun t => d t k) (at_right 0) (locally (d 0 k))) ->
  filterlim (fun t => square (d t)) (at_right 0) (locally (square (d 0))).
Proof.
  intros H. apply (sum_filterlim units (fun k t => d t k ^ 2)); [apply _|]. intros k Hk.
  apply (comp_filterlim (fun y => y ^ 2) (fun t => d t k)); [apply H, Hk|].
  apply (ex_derive_continuous (fun y => y ^ 2)). auto_derive. exact I.
Qed.

(** Gronwall, with a rate that depends on time. *)
Lemma decays (n dn : R -> R) (e de : R -> R) : (forall t, 0 < t -> is_derive n t (dn t)) ->
  (forall t, is_derive e t (de t)) -> filterlim n (at_right 0) (locally (n 0)) -> (forall t, 0 <= n t) ->
  (forall t, 0 < t -> dn t <= - de t * n t) -> forall t, 0 <= t -> n t <= n 0 * exp (e 0 - e t).
Proof.
  intros Dn De Rn Pn H t Ht.
  assert (X : n t * exp (e t) <= n 0 * exp (e 0)).
  { apply (nonincreasing (fun t => n t * exp (e t)) (fun t => dn t * exp (e t) + n t * (de t * exp (e t)))); [| |lra].
    - intros s Hs. split.
      + evar_last; [apply (is_derive_mult n (fun s => exp (e s))); [apply Dn, Hs| |intros; apply Rmult_comm]|].
        * apply (is_derive_comp exp e); [apply is_derive_exp|apply De].
        * unfold plus, mult, scal; simpl; unfold mult; simpl. ring.
      + specialize (H s Hs). pose proof (exp_pos (e s)). nra.
    - apply mult_filterlim; [apply _|exact Rn|]. intros P HP. apply filter_le_within. revert P HP.
      apply (continuous_comp e exp); [apply (ex_derive_continuous e); eexists; apply De|apply continuous_exp]. }
  unfold Rminus. rewrite exp_plus, exp_Ropp. pose proof (exp_pos (e t)).
  apply Rmult_le_reg_r with (exp (e t)); [assumption|]. rewrite <- Rmult_assoc, (Rmult_assoc (n 0 * exp (e 0))), Rinv_l by lra. lra.
Qed.

Lemma pairs_split (d : U -> R) : pairs (fun i j => c i j * (Rabs (d i - d j) * Rabs (d i - d j))) = bilinear d d.
Proof.
  apply sum_ext. intros i _. apply sum_ext. intros j _. rewrite <- Rabs_mult, Rabs_pos_eq; [reflexivity|apply Rle_0_sqr].
Qed.

Lemma bilinear_nonneg d : 0 <= bilinear d d.
Proof. rewrite <- pairs_split. apply sum_nonneg. intros i Hi. apply sum_nonneg. intros j Hj.
  apply Rmult_le_pos; [apply c_nonneg; assumption|]. apply Rmult_le_pos; apply Rabs_pos. Qed.

(** The speed of the squared distance of two states near x. *)
Lemma closing h h' m : p * m <= 1 / 3 ->
  (forall i j, In i units -> In j units -> Rabs ((h j - x j) - (h i - x i)) <= m /\ Rabs ((h' j - x j) - (h' i - x i)) <= m) ->
  centred (fun k => h' k - h k) ->
  (Σ k ∈ units, (h' k - h k) * (g h' k - g h k)) <= - (p * lam * (1 - 3 * p * m)) * square (fun k => h' k - h k).
Proof.
  intros Hm H Hc. pose proof (nearly_linear h h' (fun k => h' k - h k) m ltac:(lra) H) as L. cbv beta in L.
  rewrite (pairs_split (fun k => h' k - h k)) in L. apply Rabs_le_between in L.
  pose proof (rayleigh _ Hc) as Ry. pose proof (bilinear_nonneg (fun k => h' k - h k)) as Bn.
  set (B := bilinear (fun k => h' k - h k) (fun k => h' k - h k)) in *.
  assert (Y : 0 <= p * (1 - 3 * p * m)) by (apply Rmult_le_pos; lra).
  assert (p * (1 - 3 * p * m) * (lam * square (fun k => h' k - h k)) <= p * (1 - 3 * p * m) * B)
    by (apply Rmult_le_compat_l; assumption). lra.
Qed.

Lemma balanced_scales k : In k units -> g x k = 0.
Proof. intros Hk. apply balanced_x, Hk. Qed.

(** ** Two solutions that start near x *)

Section Two.
Variables (r : R).
Hypotheses (r_pos : 0 < r) (r_small : 12 * p * r <= 1).

(** What starts within r of x comes closer at the rate mu / 2, at least. *)
Lemma approaches h : follows h -> square (fun k => h 0 k - x k) <= r ^ 2 -> centred (fun k => h 0 k - x k) ->
  forall t, 0 <= t -> square (fun k => h t k - x k) <= (r * exp (- (mu / 2) * t)) ^ 2 /\ centred (fun k => h t k - x k).
Proof.
  intros Hh Hr Hc.
  set (d := fun t k => h t k - x k).
  assert (Dd : forall t, 0 < t -> forall k, In k units -> is_derive (fun s => d s k) t (g (h t) k / tau)).
  { intros t Ht k Hk. evar_last; [apply (is_derive_minus (fun s => h s k) (fun _ => x k));
      [apply Hh; assumption|apply @is_derive_const]|]. unfold minus, plus, opp, zero; simpl. ring. }
  assert (Rd : forall k, In k units -> filterlim (fun t => d t k) (at_right 0) (locally (d 0 k))).
  { intros k Hk. apply (comp_filterlim (fun y => y - x k) (fun t => h t k)); [apply Hh, Hk|].
    apply (ex_derive_continuous (fun y => y - x k)). auto_derive. exact I. }
  (* it stays centred, *)
  assert (Ce : forall t, 0 <= t -> centred (d t)).
  { intros t Ht z Hz. rewrite <- (Hc z Hz). apply (constant_from_zero (fun t => Σ k ∈ units, z k * d t k)); [| |exact Ht].
    - intros s Hs. evar_last.
      + apply (sum_derive units (fun k s => z k * d s k) (fun k => z k * (g (h s) k / tau))).
        intros k Hk. apply (is_derive_scal (fun s => d s k)), Dd; assumption.
      + rewrite (sum_ext units _ (fun k => / tau * (z k * g (h s) k))) by (intros; unfold Rdiv; ring).
        rewrite sum_scal, pairing, sum_zero; [ring|]. intros i Hi. apply sum_zero. intros j Hj.
        destruct (Req_dec (J i j) 0) as [Z|N]; [rewrite (proj1 (c_supported i j Hi Hj) Z)|rewrite (Hz i j Hi Hj N)]; ring.
    - apply (sum_filterlim units (fun k t => z k * d t k)); [apply _|]. intros k Hk.
      apply scal_filterlim; [apply _|apply Rd, Hk]. }
  (* within r, *)
  assert (G0 : forall h, (Σ k ∈ units, (h k - x k) * g h k) <= 0).
  { intros y. rewrite (pairing y (fun k => y k - x k)).
    assert (Z : pairs (fun i j => c i j * ((y i - x i) - (y j - x j))) = 0).
    { pose proof (pairing x (fun k => y k - x k)) as X.
      rewrite (sum_zero units) in X by (intros k Hk; rewrite balanced_scales by exact Hk; ring).
      rewrite X at 1. apply sum_ext. intros i _. apply sum_ext. intros j _. rewrite !Rminus_eq_0, Rmult_0_r, exp_0. ring. }
    rewrite <- Z. apply pairs_le. intros i j Hi Hj.
    set (s := (y j - x j) - (y i - x i)). replace ((y i - x i) - (y j - x j)) with (- s) by (unfold s; ring).
    pose proof (exp_ineq1_le (p * s)) as E. pose proof (c_nonneg i j Hi Hj) as P.
    assert (Q : 0 <= (exp (p * s) - 1) * s).
    { destruct (Rle_dec 0 s) as [S|S]; [apply Rmult_le_pos; [nra|exact S]|].
      assert (exp (p * s) <= 1) by (rewrite <- exp_0; apply Rlt_le, exp_increasing; nra). nra. }
    pose proof (Rmult_le_pos _ _ P Q). lra. }
  assert (In0 : forall t, 0 <= t -> square (d t) <= r ^ 2).
  { intros t Ht. eapply Rle_trans; [|exact Hr]. change (square (d t) <= square (d 0)).
    apply (nonincreasing (fun t => square (d t)) (fun t => 2 * Σ k ∈ units, d t k * (g (h t) k / tau))); [| |lra].
    - intros s Hs. split; [apply (square_derive d (fun t k => g (h t) k / tau)), Dd, Hs|].
      rewrite (sum_ext units _ (fun k => / tau * ((h s k - x k) * g (h s) k))) by (intros; unfold d, Rdiv; ring).
      rewrite sum_scal. pose proof (G0 (h s)). pose proof (Rinv_0_lt_compat _ tau_pos). nra.
    - apply (square_right d Rd). }
  (* so that it falls. *)
  intros t Ht. split; [|apply Ce, Ht].
  pose proof (decays (fun t => square (d t)) (fun t => 2 * Σ k ∈ units, d t k * (g (h t) k / tau))
    (fun t => mu * t) (fun _ => mu)) as Dc. cbv beta in Dc.
  eapply Rle_trans; [apply Dc|].
  - intros s Hs. apply (square_derive d (fun t k => g (h t) k / tau)), Dd, Hs.
  - intros s. auto_derive; [exact I|ring].
  - apply (square_right d Rd).
  - intros s. apply sum_nonneg. intros; apply pow2_ge_0.
  - intros s Hs. pose proof (closing x (h s) (2 * r)) as Cl.
    rewrite (sum_ext units _ (fun k => / tau * (d s k * (g (h s) k - g x k))))
      by (intros k Hk; rewrite (balanced_scales k Hk); unfold Rdiv; ring).
    rewrite sum_scal.
    assert (C1 : (Σ k ∈ units, d s k * (g (h s) k - g x k)) <= - (p * lam * (1 - 3 * p * (2 * r))) * square (d s)).
    { apply Cl; [lra| |apply Ce; lra]. intros i j Hi Hj. split.
      - rewrite !Rminus_eq_0, Rabs_R0. lra.
      - apply (difference_bound (d s) r i j Hi Hj); [lra|apply In0; lra]. }
    assert (Half : 1 / 2 <= 1 - 3 * p * (2 * r)) by lra.
    assert (S0 : 0 <= square (d s)) by (apply sum_nonneg; intros; apply pow2_ge_0).
    pose proof lam_pos as Lp. assert (Pl : 0 <= p * lam * square (d s)) by (repeat apply Rmult_le_pos; lra).
    pose proof (Rinv_0_lt_compat _ tau_pos) as It.
    apply Rle_trans with (2 * (/ tau * (- (p * lam * (1 / 2)) * square (d s)))); [|unfold mu, Rdiv; apply Req_le; field; lra].
    apply Rmult_le_compat_l; [lra|]. apply Rmult_le_compat_l; [lra|]. nra.
  - exact Ht.
  - rewrite Rmult_0_r, Rminus_0_l. replace ((r * exp (- (mu / 2) * t)) ^ 2) with (r ^ 2 * (exp (- (mu / 2) * t) * exp (- (mu / 2) * t))) by ring.
    rewrite <- exp_plus. replace (- (mu / 2) * t + - (mu / 2) * t) with (- (mu * t)) by field.
    apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|exact Hr].
Qed.

Let V := 1 + square v.
Let W := pairs (fun i j => c i j * Rabs (v i - v j)).

Hypothesis r_enough : r * (36 * p ^ 2 * V * W / tau) * (2 / mu) <= square v / 2.

(** Solutions that differ by a multiple of v at first come together at the rate mu, and no faster. *)
Theorem no_faster h h' s : follows h -> follows h' ->
  square (fun k => h 0 k - x k) <= r ^ 2 -> square (fun k => h' 0 k - x k) <= r ^ 2 ->
  centred (fun k => h 0 k - x k) -> centred (fun k => h' 0 k - x k) ->
  (forall k, In k units -> h' 0 k - h 0 k = s * v k) ->
  forall t, 0 <= t -> Rabs s * (square v / 2) * exp (- (mu * t)) <= Rabs (Σ k ∈ units, (h' t k - h t k) * v k).
Proof.
  intros Hh Hh' Hr Hr' Hc Hc' Hs.
  pose proof (approaches h Hh Hr Hc) as A. pose proof (approaches h' Hh' Hr' Hc') as A'.
  set (d := fun t k => h' t k - h t k). set (small := fun t => exp (- (mu / 2) * t)).
  pose proof mu_pos as Mp. pose proof lam_pos as Lp. pose proof (Rinv_0_lt_compat _ tau_pos) as It.
  assert (Sm : forall t, 0 <= t -> 0 < small t <= 1).
  { intros t Ht. split; [apply exp_pos|]. unfold small. rewrite <- exp_0.
    destruct (Req_dec t 0) as [->|N]; [rewrite Rmult_0_r; lra|]. apply Rlt_le, exp_increasing. nra. }
  assert (Sd : forall t, is_derive small t (- (mu / 2) * small t)).
  { intros t. unfold small. auto_derive; [exact I|ring]. }
  assert (Dd : forall t, 0 < t -> forall k, In k units -> is_derive (fun s => d s k) t ((g (h' t) k - g (h t) k) / tau)).
  { intros t Ht k Hk. evar_last; [apply (is_derive_minus (fun s => h' s k) (fun s => h s k)); [apply Hh'|apply Hh]; assumption|].
    unfold minus, plus, opp; simpl. field. lra. }
  assert (Rd : forall k, In k units -> filterlim (fun t => d t k) (at_right 0) (locally (d 0 k))).
  { intros k Hk. eapply (filterlim_comp_2 (fun t => h' t k) (fun t => - h t k) Rplus).
    - apply Hh', Hk.
    - apply (comp_filterlim Ropp (fun t => h t k)); [apply Hh, Hk|]. apply (ex_derive_continuous Ropp). auto_derive. exact I.
    - apply (filterlim_plus (h' 0 k) (- h 0 k)). }
  assert (Ce : forall t, 0 <= t -> centred (d t)).
  { intros t Ht z Hz. rewrite (sum_ext units _ (fun k => z k * (h' t k - x k) - z k * (h t k - x k))) by (intros; unfold d; ring).
    rewrite sum_minus, (proj2 (A' t Ht) z Hz), (proj2 (A t Ht) z Hz). ring. }
  assert (Close : forall t, 0 <= t -> forall i j, In i units -> In j units ->
    Rabs ((h t j - x j) - (h t i - x i)) <= 2 * (r * small t) /\ Rabs ((h' t j - x j) - (h' t i - x i)) <= 2 * (r * small t)).
  { intros t Ht i j Hi Hj. assert (P : 0 <= r * small t) by (apply Rmult_le_pos; [lra|apply Rlt_le, Sm, Ht]). split.
    - apply (difference_bound (fun k => h t k - x k) _ i j Hi Hj P), A, Ht.
    - apply (difference_bound (fun k => h' t k - x k) _ i j Hi Hj P), A', Ht. }
  assert (Rs : forall t, 0 <= t -> p * (2 * (r * small t)) <= 1 / 6).
  { intros t Ht. destruct (Sm t Ht). assert (p * r * small t <= p * r * 1) by (apply Rmult_le_compat_l; nra). lra. }
  (* the squared distance falls at the rate 2 mu, up to a constant *)
  assert (N : forall t, 0 <= t -> square (d t) <= (3 * Rabs s * V * exp (- (mu * t))) ^ 2).
  { intros t Ht.
    pose proof (decays (fun t => square (d t)) (fun t => 2 * Σ k ∈ units, d t k * ((g (h' t) k - g (h t) k) / tau))
      (fun t => 2 * mu * t + 24 * p * r * small t) (fun t => 2 * mu + 24 * p * r * (- (mu / 2) * small t))) as Dc. cbv beta in Dc.
    eapply Rle_trans; [apply Dc|].
    - intros u Hu. apply (square_derive d (fun t k => (g (h' t) k - g (h t) k) / tau)), Dd, Hu.
    - intros u. apply (is_derive_plus (fun t => 2 * mu * t) (fun t => 24 * p * r * small t)).
      + auto_derive; [exact I|ring].
      + apply (is_derive_scal small), Sd.
    - apply (square_right d Rd).
    - intros u. apply sum_nonneg. intros; apply pow2_ge_0.
    - intros u Hu. pose proof (closing (h u) (h' u) (2 * (r * small u)) ltac:(pose proof (Rs u ltac:(lra)); lra)
        (Close u ltac:(lra)) (Ce u ltac:(lra))) as Cl.
      rewrite (sum_ext units _ (fun k => / tau * ((h' u k - h u k) * (g (h' u) k - g (h u) k)))) by (intros; unfold d, Rdiv; ring).
      rewrite sum_scal. change (square (fun k => h' u k - h u k)) with (square (d u)) in Cl.
      apply Rle_trans with (2 * (/ tau * (- (p * lam * (1 - 3 * p * (2 * (r * small u)))) * square (d u)))).
      + apply Rmult_le_compat_l; [lra|]. apply Rmult_le_compat_l; [lra|exact Cl].
      + apply Req_le. unfold mu. field. lra.
    - exact Ht.
    - assert (S0 : square (d 0) = Rabs s ^ 2 * square v).
      { rewrite pow2_abs. unfold square. rewrite <- sum_scal. apply sum_ext. intros k Hk. unfold d. rewrite (Hs k Hk). ring. }
      rewrite S0. rewrite Rmult_0_r. destruct (Sm t Ht) as [Sp _]. assert (S1 : small 0 = 1) by (unfold small; rewrite Rmult_0_r; apply exp_0).
      assert (Vq : 0 <= square v) by (apply sum_nonneg; intros; apply pow2_ge_0).
      assert (Ex : exp (0 + 24 * p * r * small 0 - (2 * mu * t + 24 * p * r * small t)) <= 9 * (exp (- (mu * t)) * exp (- (mu * t)))).
      { rewrite <- exp_plus. apply Rle_trans with (exp (1 + 1 + (- (mu * t) + - (mu * t)))).
        - assert (Y : 0 + 24 * p * r * small 0 - (2 * mu * t + 24 * p * r * small t) <= 1 + 1 + (- (mu * t) + - (mu * t))).
          { rewrite S1. assert (0 <= p * r * small t) by (repeat apply Rmult_le_pos; lra). lra. }
          destruct Y as [Y| ->]; [apply Rlt_le, exp_increasing, Y|lra].
        - rewrite (exp_plus (1 + 1)), (exp_plus 1 1). apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|].
          pose proof exp_le_3. pose proof (exp_pos 1). nra. }
      set (q := exp (- (mu * t))) in *. assert (Vv : square v <= V ^ 2) by (unfold V; nra).
      pose proof (pow2_ge_0 (Rabs s)) as Sq.
      apply Rle_trans with (Rabs s ^ 2 * V ^ 2 * (9 * (q * q))); [|apply Req_le; ring].
      apply Rmult_le_compat; [apply Rmult_le_pos; assumption|apply Rlt_le, exp_pos|apply Rmult_le_compat_l; assumption|exact Ex]. }
  (* so the part along v changes little after it is scaled by exp(mu t) *)
  set (b := fun t => (Σ k ∈ units, d t k * v k) * exp (mu * t)).
  set (K := Rabs s * r * (36 * p ^ 2 * V * W / tau)).
  set (db := fun t => ((Σ k ∈ units, v k * (g (h' t) k - g (h t) k)) / tau + mu * Σ k ∈ units, d t k * v k) * exp (mu * t)).
  assert (Db : forall t, 0 < t -> is_derive b t (db t)).
  { intros t Ht. unfold b. evar_last.
    - apply (is_derive_mult (fun t => Σ k ∈ units, d t k * v k) (fun t => exp (mu * t))); [| |intros; apply Rmult_comm].
      + apply (sum_derive units (fun k t => d t k * v k) (fun k => (g (h' t) k - g (h t) k) / tau * v k)). intros k Hk.
        apply (is_derive_ext (fun t => v k * d t k)); [intros; apply Rmult_comm|].
        evar_last; [apply (is_derive_scal (fun t => d t k)), Dd; assumption|apply Rmult_comm].
      + auto_derive; [exact I|reflexivity].
    - unfold plus, mult; simpl. unfold db.
      rewrite (sum_ext units (fun k => (g (h' t) k - g (h t) k) / tau * v k) (fun k => / tau * (v k * (g (h' t) k - g (h t) k))))
        by (intros; unfold Rdiv; ring).
      rewrite sum_scal. unfold Rdiv. ring. }
  assert (Bb : forall t, 0 <= t -> Rabs (db t) <= K * small t).
  { intros t Ht. unfold db. rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by apply Rlt_le, exp_pos.
    pose proof (nearly_linear (h t) (h' t) v (2 * (r * small t)) ltac:(pose proof (Rs t Ht); lra) (Close t Ht)) as L.
    rewrite bilinear_v in L. change (fun k => h' t k - h t k) with (d t) in L.
    change (Σ k ∈ units, (h' t k - h t k) * v k) with (Σ k ∈ units, d t k * v k) in L.
    set (a := Σ k ∈ units, d t k * v k) in *. set (Q := Σ k ∈ units, v k * (g (h' t) k - g (h t) k)) in *.
    replace (Q / tau + mu * a) with ((Q + p * (lam * a)) * / tau) by (unfold mu; field; lra).
    rewrite Rabs_mult, (Rabs_pos_eq (/ tau)) by lra.
    set (q := exp (- (mu * t))). assert (Hq : q * exp (mu * t) = 1) by (unfold q; rewrite <- exp_plus, Rplus_opp_l; apply exp_0).
    assert (Vp : 0 < V) by (unfold V; assert (0 <= square v) by (apply sum_nonneg; intros; apply pow2_ge_0); lra).
    assert (Bd : 0 <= 3 * Rabs s * V * q).
    { unfold q. apply Rmult_le_pos; [|apply Rlt_le, exp_pos]. apply Rmult_le_pos; [|lra]. pose proof (Rabs_pos s). lra. }
    assert (Pw : pairs (fun i j => c i j * (Rabs ((h' t i - h t i) - (h' t j - h t j)) * Rabs (v i - v j)))
      <= 2 * (3 * Rabs s * V * q) * W).
    { unfold W. rewrite <- pairs_scal. apply pairs_le. intros i j Hi Hj.
      pose proof (difference_bound (d t) _ j i Hj Hi Bd (N t Ht)) as Df.
      replace (2 * (3 * Rabs s * V * q) * (c i j * Rabs (v i - v j)))
        with (c i j * (2 * (3 * Rabs s * V * q) * Rabs (v i - v j))) by ring.
      apply Rmult_le_compat_l; [apply c_nonneg; assumption|]. apply Rmult_le_compat_r; [apply Rabs_pos|exact Df]. }
    assert (Lq : Rabs (Q + p * (lam * a)) <= Rabs s * r * small t * (36 * p ^ 2 * V * W) * q).
    { eapply Rle_trans; [exact L|].
      assert (Pm : 0 <= 3 * p * (2 * (r * small t))) by (destruct (Sm t Ht); repeat apply Rmult_le_pos; lra).
      apply Rle_trans with (3 * p * (2 * (r * small t)) * (p * (2 * (3 * Rabs s * V * q) * W))); [|apply Req_le; ring].
      apply Rmult_le_compat_l; [exact Pm|]. apply Rmult_le_compat_l; [lra|exact Pw]. }
    apply Rle_trans with (Rabs s * r * small t * (36 * p ^ 2 * V * W) * q * / tau * exp (mu * t)).
    - apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|]. apply Rmult_le_compat_r; [lra|exact Lq].
    - apply Req_le. transitivity (Rabs s * r * small t * (36 * p ^ 2 * V * W) * / tau * (q * exp (mu * t))); [ring|].
      rewrite Hq. unfold K, Rdiv. ring. }
  assert (Rb : filterlim b (at_right 0) (locally (b 0))).
  { apply mult_filterlim; [apply _| |].
    - apply (sum_filterlim units (fun k t => d t k * v k)); [apply _|]. intros k Hk.
      apply mult_filterlim; [apply _|apply Rd, Hk|apply filterlim_const].
    - intros P HP. apply filter_le_within. revert P HP.
      apply (ex_derive_continuous (fun t => exp (mu * t)) 0). auto_derive. exact I. }
  intros t Ht.
  set (sg := if Rle_dec 0 s then 1 else -1).
  assert (Sg : sg * s = Rabs s /\ Rabs sg = 1).
  { unfold sg. destruct (Rle_dec 0 s); [rewrite Rabs_R1, Rabs_pos_eq by lra|rewrite !Rabs_left by lra]; lra. }
  assert (M : - sg * b t - K * (2 / mu) * (1 - small t) <= - sg * b 0 - K * (2 / mu) * (1 - small 0)).
  { apply (nonincreasing (fun t => - sg * b t - K * (2 / mu) * (1 - small t))
      (fun t => - sg * db t - K * (2 / mu) * (0 - - (mu / 2) * small t))); [| |lra].
    - intros u Hu. split.
      + apply (is_derive_minus (fun t => - sg * b t) (fun t => K * (2 / mu) * (1 - small t))).
        * apply is_derive_scal, Db, Hu.
        * apply (is_derive_scal (fun t => 1 - small t)). apply (is_derive_minus (fun _ => 1) small); [apply @is_derive_const|apply Sd].
      + pose proof (Bb u ltac:(lra)) as B. pose proof (Rle_abs (- sg * db u)) as La.
        rewrite Rabs_mult, Rabs_Ropp, (proj2 Sg), Rmult_1_l in La.
        replace (K * (2 / mu) * (0 - - (mu / 2) * small u)) with (K * small u) by (field; lra). lra.
    - eapply (filterlim_comp_2 (fun t => - sg * b t) (fun t => - (K * (2 / mu) * (1 - small t))) Rplus).
      + apply scal_filterlim; [apply _|exact Rb].
      + intros P HP. apply filter_le_within. revert P HP.
        apply (ex_derive_continuous (fun t => - (K * (2 / mu) * (1 - small t))) 0). unfold small. auto_derive. exact I.
      + apply (filterlim_plus (- sg * b 0) (- (K * (2 / mu) * (1 - small 0)))). }
  assert (B0 : sg * b 0 = Rabs s * square v).
  { unfold b. rewrite Rmult_0_r, exp_0, Rmult_1_r. rewrite <- (proj1 Sg), Rmult_assoc. f_equal. unfold square. rewrite <- sum_scal.
    apply sum_ext. intros k Hk. unfold d. rewrite (Hs k Hk). ring. }
  assert (S1 : small 0 = 1) by (unfold small; rewrite Rmult_0_r; apply exp_0). rewrite S1 in M.
  assert (K0 : K * (2 / mu) <= Rabs s * (square v / 2)).
  { unfold K. replace (Rabs s * r * (36 * p ^ 2 * V * W / tau) * (2 / mu)) with (Rabs s * (r * (36 * p ^ 2 * V * W / tau) * (2 / mu))) by ring.
    apply Rmult_le_compat_l; [apply Rabs_pos|exact r_enough]. }
  assert (K1 : 0 <= K * (2 / mu)).
  { apply Rmult_le_pos; [|apply Rlt_le, Rdiv_lt_0_compat; lra]. pose proof (Bb 0 (Rle_refl 0)) as B. pose proof (Rabs_pos (db 0)).
    rewrite S1 in B. lra. }
  assert (F : Rabs s * (square v / 2) <= sg * b t).
  { destruct (Sm t Ht). assert (K * (2 / mu) * (1 - small t) <= K * (2 / mu) * 1) by (apply Rmult_le_compat_l; lra). lra. }
  assert (F' : Rabs s * (square v / 2) <= Rabs (b t)).
  { eapply Rle_trans; [exact F|]. eapply Rle_trans; [apply Rle_abs|]. rewrite Rabs_mult, (proj2 Sg). lra. }
  unfold b in F'. rewrite Rabs_mult, (Rabs_pos_eq (exp _)) in F' by apply Rlt_le, exp_pos.
  change (Σ k ∈ units, (h' t k - h t k) * v k) with (Σ k ∈ units, d t k * v k).
  rewrite exp_Ropp. pose proof (exp_pos (mu * t)) as E. apply Rmult_le_reg_r with (exp (mu * t)); [exact E|].
  rewrite Rmult_assoc, Rinv_l by lra. lra.
Qed.

End Two.
(** Near x the distance is at most in proportion to |g|. *)
Lemma distance_by_imbalance r h : 0 < r -> 12 * p * r <= 1 -> square (fun k => h k - x k) <= r ^ 2 ->
  centred (fun k => h k - x k) -> (p * lam / 2) ^ 2 * square (fun k => h k - x k) <= Σ k ∈ units, g h k ^ 2.
Proof.
  intros Hr Hpr Hs Hc. pose proof (closing x h (2 * r) ltac:(lra)) as Cl.
  assert (C1 : (Σ k ∈ units, (h k - x k) * (g h k - g x k))
    <= - (p * lam * (1 - 3 * p * (2 * r))) * square (fun k => h k - x k)).
  { apply Cl; [|exact Hc]. intros i j Hi Hj. split; [rewrite !Rminus_eq_0, Rabs_R0; lra|].
    apply (difference_bound (fun k => h k - x k) r i j Hi Hj); [lra|exact Hs]. }
  rewrite (sum_ext units _ (fun k => (h k - x k) * g h k)) in C1
    by (intros k Hk; rewrite (balanced_scales k Hk); ring).
  set (B := p * lam / 2). set (M := square (fun k => h k - x k)) in *.
  assert (M0 : 0 <= M) by (apply sum_nonneg; intros; apply pow2_ge_0).
  pose proof lam_pos. assert (P : 0 <= p * lam) by (apply Rmult_le_pos; lra).
  assert (C2 : (Σ k ∈ units, (h k - x k) * g h k) <= - B * M).
  { eapply Rle_trans; [exact C1|]. assert (1 / 2 <= 1 - 3 * p * (2 * r)) by lra. unfold B.
    assert (p * lam * (1 / 2) * M <= p * lam * (1 - 3 * p * (2 * r)) * M); [|lra].
    apply Rmult_le_compat_r; [exact M0|]. apply Rmult_le_compat_l; assumption. }
  assert (S : 0 <= Σ k ∈ units, (B * (h k - x k) + g h k) ^ 2) by (apply sum_nonneg; intros; apply pow2_ge_0).
  rewrite (sum_ext units _ (fun k => B ^ 2 * (h k - x k) ^ 2 + (2 * B * ((h k - x k) * g h k) + g h k ^ 2))) in S by (intros; ring).
  rewrite !sum_plus, !sum_scal in S. fold (square (fun k => h k - x k)) M in S.
  assert (Bp : 0 <= B) by (unfold B; lra).
  assert (2 * B * (Σ k ∈ units, (h k - x k) * g h k) <= 2 * B * (- B * M)) by (apply Rmult_le_compat_l; lra). lra.
Qed.

(** [S.convergence]: within some distance of x, of two solutions whose starts differ by a multiple of v not
    both converge faster than at the rate mu = p lam_2 / tau. *)
Theorem at_most_one_faster : exists r, 0 < r /\ forall h h' s, follows h -> follows h' ->
  square (fun k => h 0 k - x k) <= r ^ 2 -> square (fun k => h' 0 k - x k) <= r ^ 2 ->
  centred (fun k => h 0 k - x k) -> centred (fun k => h' 0 k - x k) ->
  (forall k, In k units -> h' 0 k - h 0 k = s * v k) -> s <> 0 ->
  forall rate K, p * lam / tau < rate ->
  ~ forall t, 0 <= t -> (Σ k ∈ units, g (h t) k ^ 2) <= K * exp (- (2 * rate * t)) /\
      (Σ k ∈ units, g (h' t) k ^ 2) <= K * exp (- (2 * rate * t)).
Proof.
  assert (Sv : 0 < square v).
  { destruct Hv as [(k & Hk & N) _]. apply (sum_pos units (fun k => v k ^ 2) k); [intros; apply pow2_ge_0|exact Hk|].
    apply pow2_gt_0, N. }
  pose proof mu_pos as Mp. pose proof lam_pos as Lp.
  set (X := 36 * p ^ 2 * (1 + square v) * pairs (fun i j => c i j * Rabs (v i - v j)) / tau * (2 / mu)).
  assert (X0 : 0 <= X).
  { unfold X. apply Rmult_le_pos; [|apply Rlt_le, Rdiv_lt_0_compat; lra]. apply Rdiv_le_0_compat; [|exact tau_pos].
    apply Rmult_le_pos; [apply Rmult_le_pos; [|lra]; pose proof (pow2_ge_0 p); lra|].
    apply sum_nonneg. intros i Hi. apply sum_nonneg. intros j Hj.
    apply Rmult_le_pos; [apply c_nonneg; assumption|apply Rabs_pos]. }
  set (r := Rmin (/ (12 * p)) (square v / 2 / (X + 1))).
  assert (Hr : 0 < r).
  { apply Rmin_pos; [apply Rinv_0_lt_compat; lra|]. apply Rdiv_lt_0_compat; lra. }
  assert (Hr1 : 12 * p * r <= 1).
  { apply Rle_trans with (12 * p * / (12 * p)); [apply Rmult_le_compat_l; [lra|apply Rmin_l]|]. apply Req_le. field. lra. }
  assert (Hr2 : r * (36 * p ^ 2 * (1 + square v) * pairs (fun i j => c i j * Rabs (v i - v j)) / tau) * (2 / mu) <= square v / 2).
  { rewrite Rmult_assoc. fold X. apply Rle_trans with (square v / 2 / (X + 1) * (X + 1)).
    - apply Rmult_le_compat; [lra|exact X0|apply Rmin_r|lra].
    - apply Req_le. field. lra. }
  exists r. split; [exact Hr|]. intros h h' s Hh Hh' S0 S0' C0 C0' Hs Ns rate K Hrate Fast.
  set (B := p * lam / 2). assert (Bp : 0 < B) by (unfold B; assert (0 < p * lam) by (apply Rmult_lt_0_compat; lra); lra).
  assert (K0 : 0 <= K).
  { destruct (Fast 0 (Rle_refl 0)) as [F _]. rewrite Rmult_0_r, Ropp_0, exp_0, Rmult_1_r in F.
    eapply Rle_trans; [|exact F]. apply sum_nonneg. intros; apply pow2_ge_0. }
  set (Vs := Σ k ∈ units, Rabs (v k)). assert (Vs0 : 0 <= Vs) by (apply sum_nonneg; intros; apply Rabs_pos).
  set (k0 := Rabs s * (square v / 2)).
  assert (k0_pos : 0 < k0) by (apply Rmult_lt_0_compat; [apply Rabs_pos_lt, Ns|lra]).
  set (G := 2 * sqrt K / B * Vs).
  assert (G0 : 0 <= G).
  { apply Rmult_le_pos; [|exact Vs0]. apply Rdiv_le_0_compat; [|exact Bp]. pose proof (sqrt_pos K). lra. }
  assert (Up : forall t, 0 <= t -> k0 * exp (- (mu * t)) <= G * exp (- (rate * t))).
  { intros t Ht. eapply Rle_trans; [apply (no_faster r Hr Hr1 Hr2 h h' s Hh Hh' S0 S0' C0 C0' Hs t Ht)|].
    destruct (Fast t Ht) as [F F'].
    assert (Small : 0 < exp (- (mu / 2) * t) <= 1).
    { split; [apply exp_pos|]. rewrite <- exp_0. destruct (Req_dec t 0) as [->|N]; [rewrite Rmult_0_r; lra|].
      apply Rlt_le, exp_increasing. nra. }
    assert (In : forall h, follows h -> square (fun k => h 0 k - x k) <= r ^ 2 -> centred (fun k => h 0 k - x k) ->
      square (fun k => h t k - x k) <= r ^ 2 /\ centred (fun k => h t k - x k)).
    { intros y Hy Ys Yc. destruct (approaches r Hr Hr1 y Hy Ys Yc t Ht) as [A1 A2]. split; [|exact A2].
      eapply Rle_trans; [exact A1|]. apply pow_incr. split; [apply Rmult_le_pos; lra|]. rewrite <- (Rmult_1_r r) at 2.
      apply Rmult_le_compat_l; lra. }
    destruct (In h Hh S0 C0) as [I1 I2]. destruct (In h' Hh' S0' C0') as [I1' I2'].
    pose proof (distance_by_imbalance r (h t) Hr Hr1 I1 I2) as D. pose proof (distance_by_imbalance r (h' t) Hr Hr1 I1' I2') as D'.
    fold B in D, D'. set (q := exp (- (rate * t))).
    assert (Eq : exp (- (2 * rate * t)) = q * q) by (unfold q; rewrite <- exp_plus; f_equal; ring). rewrite Eq in F, F'.
    assert (Hq : 0 < q) by apply exp_pos.
    assert (Beta : square (fun k => h' t k - h t k) <= (2 * sqrt K / B * q) ^ 2).
    { apply Rmult_le_reg_l with (B ^ 2); [apply pow_lt, Bp|].
      replace (B ^ 2 * (2 * sqrt K / B * q) ^ 2) with (4 * (sqrt K * sqrt K) * (q * q)) by (field; lra).
      rewrite sqrt_sqrt by exact K0.
      apply Rle_trans with (2 * (B ^ 2 * square (fun k => h t k - x k) + B ^ 2 * square (fun k => h' t k - x k))); [|lra].
      rewrite <- Rmult_plus_distr_l, <- Rmult_assoc, (Rmult_comm 2), Rmult_assoc.
      apply Rmult_le_compat_l; [apply pow2_ge_0|]. unfold square. rewrite <- sum_plus, <- sum_scal. apply sum_le.
      intros k _. pose proof (pow2_ge_0 ((h' t k - x k) + (h t k - x k))). nra. }
    assert (Bq : 0 <= 2 * sqrt K / B * q).
    { apply Rmult_le_pos; [|lra]. apply Rdiv_le_0_compat; [|exact Bp]. pose proof (sqrt_pos K). lra. }
    eapply Rle_trans; [apply sum_abs|].
    replace (G * q) with (2 * sqrt K / B * q * Vs) by (unfold G; ring). unfold Vs. rewrite <- sum_scal. apply sum_le.
    intros k Hk. rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|].
    apply (abs_bound (fun k => h' t k - h t k) k _ Hk Bq Beta). }
  fold mu in Hrate. set (t := G / k0 / (rate - mu)).
  assert (Ht : 0 <= t) by (repeat (apply Rdiv_le_0_compat; [|lra]); exact G0).
  specialize (Up t Ht). pose proof (exp_ineq1_le ((rate - mu) * t)) as E.
  replace ((rate - mu) * t) with (G / k0) in E at 1 by (unfold t; field; lra).
  assert (Eq : exp ((rate - mu) * t) * exp (- (rate * t)) = exp (- (mu * t))) by (rewrite <- exp_plus; f_equal; ring).
  rewrite <- Eq in Up. pose proof (exp_pos (- (rate * t))) as P.
  assert (k0 * exp ((rate - mu) * t) <= G) by (apply Rmult_le_reg_r with (exp (- (rate * t))); [exact P|lra]).
  assert (k0 * (1 + G / k0) <= G) by (eapply Rle_trans; [apply Rmult_le_compat_l; [lra|exact E]|assumption]).
  replace (k0 * (1 + G / k0)) with (k0 + G) in * by (field; lra). lra.
Qed.

End Eigenvector.
End Generic.
