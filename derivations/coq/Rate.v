(** * How fast the local rule converges

    Claim [S.convergence]: costs stay above some m > 0, the least nonzero eigenvalue of a Laplacian is positive,
    and |g| falls in the end at least at the rate p lam_2 / tau, with lam_2 that of the Laplacian of c + c^T at
    the limit. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Stock Laplacian.

Section Rate.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p tau : R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p) (tau_pos : 0 < tau).
Hypothesis positive : forall i j, In i units -> In j units -> 0 < alpha i j.

Notation cost := (synapse_cost alpha p).
Notation imbalance_of := (unit_imbalance units alpha p).
Notation inc := (incidence eq_dec pre post).
Notation norm2 v := (Σ k ∈ units, v k ^ 2).

(** ** Laplacians of weights on the synapses *)

(** Lap(c + c^T) v *)
Definition weighted_laplacian (c : U -> U -> R) (v : U -> R) (i : U) : R := Σ j ∈ units, (c i j + c j i) * (v i - v j).

Definition weighted_form (c : U -> U -> R) (v : U -> R) : R := Σ i ∈ units, Σ j ∈ units, c i j * (v i - v j) ^ 2.

Definition laplacian_eigenpair c lam v : Prop :=
  (exists k, In k units /\ v k <> 0) /\ forall k, In k units -> weighted_laplacian c v k = lam * v k.

Definition lambda_2 c lam : Prop :=
  lam <> 0 /\ (exists v, laplacian_eigenpair c lam v) /\ forall mu v, mu <> 0 -> laplacian_eigenpair c mu v -> lam <= mu.

(** Positive on the synapses of J, and 0 elsewhere: its costs, or its pattern of nonzero entries. *)
Definition supported (J c : U -> U -> R) : Prop :=
  forall i j, In i units -> In j units -> (J i j = 0 -> c i j = 0) /\ (J i j <> 0 -> 0 < c i j).

Definition pattern (J : U -> U -> R) i j : R := if Req_EM_T (J i j) 0 then 0 else 1.

Lemma pattern_supported J : supported J (pattern J).
Proof. intros i j _ _. unfold pattern. destruct (Req_EM_T (J i j) 0); split; intros; try contradiction; lra. Qed.

Lemma costs_supported J K : same_zeros units J K -> supported J (cost K).
Proof.
  intros H i j Hi Hj. destruct (H i j Hi Hj) as [H1 H2]. unfold synapse_cost. split; intros N.
  - rewrite H1, apow_0 by exact N. ring.
  - apply Rmult_lt_0_compat; [apply positive; assumption|]. apply apow_pos. tauto.
Qed.

Definition no_new (J K : U -> U -> R) : Prop := forall i j, In i units -> In j units -> J i j = 0 -> K i j = 0.

Section Weights.
Variables (J c : U -> U -> R).
Hypothesis sup : supported J c.

Notation edges := (synapses units J).
Let weight (e : U * U) : R := c (fst e) (snd e).

Lemma edge_scale v e : In e edges -> log_scale units inc v e = v (fst e) - v (snd e).
Proof. intros He. apply (entry_scale eq_dec units alpha nodup), in_entries with J, He. Qed.

Lemma weight_pos e : In e edges -> 0 < weight e.
Proof. destruct e as [i j]. intros He. apply (synapses_in units alpha) in He as (Hi & Hj & N). apply (sup i j Hi Hj), N. Qed.

Lemma edges_nodup : NoDup edges.
Proof. apply (synapses_well_formed units alpha nodup J). Qed.

Lemma edge_sum (f : U -> U -> R) : (forall i j, In i units -> In j units -> J i j = 0 -> f i j = 0) ->
  (Σ e ∈ edges, f (fst e) (snd e)) = Σ i ∈ units, Σ j ∈ units, f i j.
Proof.
  intros H. rewrite (sum_synapses units J (fun e => f (fst e) (snd e)) H).
  exact (sum_entries units (fun e => f (fst e) (snd e))).
Qed.

Lemma weighted_laplacian_is v k : In k units -> laplacian edges units inc weight v k = weighted_laplacian c v k.
Proof.
  intros Hk. unfold laplacian.
  rewrite (sum_ext edges _ (fun e => inc (fst e, snd e) k * (c (fst e) (snd e) * (v (fst e) - v (snd e)))))
    by (intros [i j] He; rewrite edge_scale by exact He; reflexivity).
  rewrite (edge_sum (fun i j => inc (i, j) k * (c i j * (v i - v j)))).
  2: { intros i j Hi Hj Z. rewrite (proj1 (sup i j Hi Hj) Z). ring. }
  unfold incidence, post, pre. simpl.
  rewrite (sum_ext units _ (fun i => (if eq_dec i k then 1 else 0) * (Σ j ∈ units, c i j * (v i - v j))
    - Σ j ∈ units, (if eq_dec j k then 1 else 0) * (c i j * (v i - v j)))).
  - rewrite sum_minus, (sum_delta eq_dec units nodup (fun i => Σ j ∈ units, c i j * (v i - v j)) k Hk).
    rewrite (sum_ext units (fun i => Σ j ∈ units, (if eq_dec j k then 1 else 0) * (c i j * (v i - v j)))
      (fun i => c i k * (v i - v k))) by (intros i _; apply (sum_delta eq_dec units nodup (fun j => c i j * (v i - v j)) k Hk)).
    unfold weighted_laplacian. rewrite <- sum_minus. apply sum_ext. intros; ring.
  - intros i _. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring.
Qed.

Lemma weighted_form_is v : form edges units inc weight v = weighted_form c v.
Proof.
  unfold form. rewrite (sum_ext edges _ (fun e => c (fst e) (snd e) * (v (fst e) - v (snd e)) ^ 2))
    by (intros; rewrite edge_scale by assumption; reflexivity).
  apply (edge_sum (fun i j => c i j * (v i - v j) ^ 2)). intros i j Hi Hj Z. rewrite (proj1 (sup i j Hi Hj) Z). ring.
Qed.

Lemma eigenpair_is lam v : eigenpair edges units inc weight lam v <-> laplacian_eigenpair c lam v.
Proof.
  split; intros [N H]; (split; [exact N|]); intros k Hk.
  - rewrite <- weighted_laplacian_is by exact Hk. apply H, Hk.
  - rewrite weighted_laplacian_is by exact Hk. apply H, Hk.
Qed.

Lemma lambda_2_is lam : least_nonzero_eigenvalue edges units inc weight lam <-> lambda_2 c lam.
Proof.
  split; intros (N & (v & Hv) & L); (split; [exact N|split; [exists v; apply eigenpair_is, Hv|]]);
    intros mu w Hmu Hw; apply (L mu w Hmu), eigenpair_is, Hw.
Qed.

Lemma imbalance_spread K k : no_new J K -> In k units ->
  spread edges inc (fun e => alpha (fst e) (snd e) * apow (synapse K e) p) k = imbalance_of K k.
Proof. intros HK Hk. exact (unit_imbalance_on_synapses eq_dec units alpha p nodup J K k HK Hk). Qed.

Lemma pair_eq_dec : forall d e : U * U, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

(** [S.convergence]: lam_2 is positive, and a bound below on v^T Lap(c + c^T) v / |v|^2 over imbalances v. *)
Theorem lambda_2_bounds lam : lambda_2 c lam -> 0 < lam /\
  forall K, no_new J K -> lam * norm2 (imbalance_of K) <= weighted_form c (imbalance_of K).
Proof.
  intros H. apply lambda_2_is in H.
  destruct (least_eigenvalue_bounds pair_eq_dec edges units inc weight edges_nodup weight_pos lam H) as [Pos B].
  split; [exact Pos|]. intros K HK. specialize (B (fun e => alpha (fst e) (snd e) * apow (synapse K e) p)).
  rewrite (form_ext edges units inc weight _ (imbalance_of K)) in B by (intros; apply imbalance_spread; assumption).
  rewrite weighted_form_is in B.
  rewrite (dot_ext units _ (imbalance_of K) _ (imbalance_of K)) in B by (intros; apply imbalance_spread; assumption).
  eapply Rle_trans; [|exact B]. apply Req_le. f_equal. apply sum_ext. intros; ring.
Qed.

(** It exists, if any synapse connects two units. *)
Theorem lambda_2_exists i j : In i units -> In j units -> i <> j -> J i j <> 0 -> exists lam, lambda_2 c lam.
Proof.
  intros Hi Hj Hij N.
  destruct (least_eigenvalue_exists pair_eq_dec edges units inc weight edges_nodup weight_pos) as [Z|(lam & _ & H & _)].
  - exfalso. assert (He : In (i, j) edges) by (apply (synapses_in units alpha); auto).
    specialize (Z (fun e => if pair_eq_dec e (i, j) then 1 else 0) i Hi). unfold spread in Z.
    rewrite (sum_ext edges _ (fun e => if pair_eq_dec e (i, j) then inc e i else 0)) in Z
      by (intros e _; destruct (pair_eq_dec e (i, j)); ring).
    rewrite (sum_pick pair_eq_dec edges (fun e => inc e i) (i, j) edges_nodup He) in Z.
    unfold incidence, at_unit, post, pre in Z. simpl in Z.
    destruct (eq_dec i i); [|contradiction]. destruct (eq_dec j i); [congruence|lra].
  - exists lam. apply lambda_2_is, H.
Qed.

End Weights.

(** ** The rule *)

Section Rule.
Variable J : R -> U -> U -> R.
Hypothesis rule : stock_rule units alpha p tau J.

Lemma no_new_at t : 0 <= t -> no_new (J 0) (J t).
Proof. intros Ht i j Hi Hj. apply (rule_zeros eq_dec units alpha p tau nodup p_pos J t rule Ht i j Hi Hj). Qed.

(** [S.convergence]: where every synapse lies on a cycle, the costs stay above some m > 0. *)
Theorem costs_bounded_below : synapses_on_cycles units (J 0) -> exists m, 0 < m /\
  forall t i j, 0 <= t -> In i units -> In j units -> J 0 i j <> 0 -> m <= cost (J t) i j.
Proof.
  intros Hc. destruct (rule_transforms eq_dec units alpha p tau nodup p_pos J rule) as (h & _ & _ & Hr).
  set (a := fun e => alpha (fst e) (snd e) * apow (synapse (J 0) e) p).
  assert (Ha : forall e, In e (synapses units (J 0)) -> 0 < a e /\ 0 < p).
  { intros [i j] He. apply (synapses_in units alpha) in He as (Hi & Hj & Hz). split; [|exact p_pos].
    apply Rmult_lt_0_compat; [apply positive; assumption|apply apow_pos, Hz]. }
  assert (Cost : forall t e, 0 <= t -> In e (synapses units (J 0)) ->
    cost (J t) (fst e) (snd e) = power_cost (a e) p (log_scale units inc (fun k => - h t k) e)).
  { intros t [i j] Ht He. rewrite edge_scale with (J := J 0) by exact He.
    apply (synapses_in units alpha) in He as (Hi & Hj & _). cbn [fst snd]. unfold synapse_cost. rewrite (Hr t i j Ht Hi Hj).
    unfold transformed.
    replace (exp (- h t i) * J 0 i j * exp (h t j)) with (exp (- h t i - - h t j) * J 0 i j).
    - rewrite power_cost_is. unfold a, power_cost, synapse. simpl. ring.
    - replace (- h t i - - h t j) with (- h t i + h t j) by ring. rewrite exp_plus. ring. }
  assert (Total : forall t, 0 <= t ->
    total_cost (synapses units (J 0)) units inc (fun e => power_cost (a e) p) (fun k => - h t k)
    = matrix_cost units alpha p (J t)).
  { intros t Ht. unfold total_cost.
    rewrite <- (sum_ext (synapses units (J 0)) (fun e => cost (J t) (fst e) (snd e))) by (intros; apply Cost; assumption).
    apply (edge_sum (J 0) (cost (J t))). intros i j Hi Hj Z. unfold synapse_cost.
    rewrite (no_new_at t Ht i j Hi Hj Z), apow_0. ring. }
  destruct (bounded_log_scales (synapses units (J 0)) units inc (fun e => power_cost (a e) p)
    (power_costs_coercive _ a (fun _ => p) Ha)
    (closed_walks_circulation eq_dec pair_eq_dec _ units pre post (synapses_well_formed units alpha nodup (J 0)) Hc)
    (matrix_cost units alpha p (J 0))) as (M & HM & B).
  destruct (list_small (synapses units (J 0)) (fun e m => forall t, 0 <= t -> m <= cost (J t) (fst e) (snd e))) as (m & Hm & H).
  - intros e d d' H Hd t Ht. specialize (H t Ht). lra.
  - intros e He. destruct (Ha e He) as [Pa _]. exists (a e * exp (- (p * M))).
    split; [apply Rmult_lt_0_compat; [exact Pa|apply exp_pos]|]. intros t Ht. rewrite (Cost t e Ht He). unfold power_cost.
    apply Rmult_le_compat_l; [lra|].
    assert (X : Rabs (log_scale units inc (fun k => - h t k) e) <= M).
    { apply B; [|exact He]. rewrite Total by exact Ht.
      apply (rule_cost_falls eq_dec units alpha p tau nodup p_pos J 0 t tau_pos rule). lra. }
    assert (Y : - (p * M) <= p * log_scale units inc (fun k => - h t k) e).
    { apply Rabs_le_between in X. nra. }
    destruct Y as [Y|Y]; [apply Rlt_le, exp_increasing, Y|rewrite Y; lra].
  - exists m. split; [exact Hm|]. intros t i j Ht Hi Hj N. apply (H (i, j)); [|exact Ht].
    apply (synapses_in units alpha). auto.
Qed.

(** [S.convergence]: so |g(t)| <= |g(0)| exp(- p m lam t / tau), with m > 0 and lam > 0, the least nonzero
    eigenvalue of the Laplacian of the pattern. *)
Theorem imbalance_falls_exponentially lam : synapses_on_cycles units (J 0) -> lambda_2 (pattern (J 0)) lam ->
  0 < lam /\ exists m, 0 < m /\ forall t, 0 <= t ->
    norm2 (imbalance_of (J t)) <= norm2 (imbalance_of (J 0)) * exp (- (2 * p * m * lam * t / tau)).
Proof.
  intros Hc Hl. destruct (lambda_2_bounds (J 0) (pattern (J 0)) (pattern_supported (J 0)) lam Hl) as [Pos B].
  split; [exact Pos|]. destruct (costs_bounded_below Hc) as (m & Hm & Hb). exists m. split; [exact Hm|]. intros t Ht.
  apply (imbalance_decays eq_dec units alpha p tau nodup p_pos J m lam t rule tau_pos); try lra; [exact Hb|].
  intros K. cbv zeta. intros HK. eapply Rle_trans; [apply (B K HK)|]. apply Req_le. unfold weighted_form.
  rewrite <- (edge_sum (J 0) (fun i j => pattern (J 0) i j * (imbalance_of K i - imbalance_of K j) ^ 2)).
  - apply sum_ext. intros [i j] He. apply (synapses_in units alpha) in He as (_ & _ & N). simpl. unfold pattern.
    destruct (Req_EM_T (J 0 i j) 0); [contradiction|ring].
  - intros i j _ _ Z. unfold pattern. destruct (Req_EM_T (J 0 i j) 0); [ring|contradiction].
Qed.

(** The rule from a later time on. *)
Lemma rule_later T : 0 <= T -> stock_rule units alpha p tau (fun t => J (T + t)).
Proof.
  intros HT i j Hi Hj. destruct (rule i j Hi Hj) as [R0 D]. split.
  - destruct HT as [HT|<-].
    + rewrite Rplus_0_r. intros P HP. apply filter_le_within. revert P HP.
      assert (C : continuous (fun t => J (T + t) i j) 0).
      { apply (continuous_comp (fun t => T + t) (fun s => J s i j)).
        - apply (ex_derive_continuous (fun t => T + t)). auto_derive. exact I.
        - rewrite Rplus_0_r. apply (ex_derive_continuous (fun s => J s i j)). eexists. apply D, HT. }
      unfold continuous in C. rewrite Rplus_0_r in C. exact C.
    + intros P HP. rewrite Rplus_0_l in HP. destruct (R0 P HP) as [d Hd]. exists d. intros t Ht Hpos.
      rewrite Rplus_0_l. apply Hd; assumption.
  - intros t Ht. evar_last.
    + apply (is_derive_comp (fun s => J s i j) (fun t => T + t)); [apply D; lra|].
      auto_derive; [exact I|reflexivity].
    + unfold scal; simpl; unfold mult; simpl. ring.
Qed.

(** [S.convergence], the rate in the end: for every r below p lam_2 / tau, |g(t)|^2 <= K exp(- 2 r t). *)
Theorem rate_in_the_end x lam r : matrix_balanced units alpha p (transformed x (J 0)) ->
  lambda_2 (cost (transformed x (J 0))) lam -> r < p * lam / tau ->
  exists K, forall t, 0 <= t -> norm2 (imbalance_of (J t)) <= K * exp (- (2 * r * t)).
Proof.
  intros Hx Hl Hr. set (c := cost (transformed x (J 0))) in *.
  assert (Sz : same_zeros units (J 0) (transformed x (J 0))) by (intros i j _ _; apply transformed_zero).
  pose proof (costs_supported (J 0) _ Sz) as Sup. fold c in Sup.
  destruct (lambda_2_bounds (J 0) c Sup lam Hl) as [Pos B].
  set (theta := Rmax 0 (r * tau / (p * lam))).
  assert (Hpl : 0 < p * lam) by (apply Rmult_lt_0_compat; assumption).
  assert (T1 : theta < 1).
  { unfold theta. apply Rmax_lub_lt; [lra|]. apply Rmult_lt_reg_r with (p * lam); [exact Hpl|].
    replace (r * tau / (p * lam) * (p * lam)) with (r * tau) by (field; lra).
    apply Rmult_lt_compat_r with (r := tau) in Hr; [|exact tau_pos].
    replace (p * lam / tau * tau) with (p * lam) in Hr by (field; lra). lra. }
  assert (T2 : r <= p * (theta * lam) / tau).
  { apply Rmult_le_reg_r with tau; [exact tau_pos|].
    replace (p * (theta * lam) / tau * tau) with (theta * (p * lam)) by (field; lra).
    replace (r * tau) with (r * tau / (p * lam) * (p * lam)) by (field; lra).
    apply Rmult_le_compat_r; [lra|apply Rmax_r]. }
  assert (T0 : 0 <= theta) by apply Rmax_l.
  destruct (matrix_converges_to eq_dec units alpha p tau nodup p_pos positive tau_pos J x rule Hx) as (L & _ & _).
  (* in the end every cost is at least theta times its limit *)
  assert (Near : Rbar_locally p_infty (fun t => forall e, In e (synapses units (J 0)) ->
    theta * c (fst e) (snd e) < cost (J t) (fst e) (snd e))).
  { apply (list_filter (synapses units (J 0)) (fun e t => theta * c (fst e) (snd e) < cost (J t) (fst e) (snd e)) _ _).
    intros [i j] He. apply (synapses_in units alpha) in He as (Hi & Hj & N). simpl.
    assert (Pc : 0 < c i j) by (apply (Sup i j Hi Hj), N).
    assert (Lc : filterlim (fun t => cost (J t) i j) (Rbar_locally p_infty) (locally (c i j))).
    { unfold c, synapse_cost. apply scal_filterlim; [apply _|].
      apply (comp_filterlim (fun x => apow x p) (fun t => J t i j)); [apply (L i j Hi Hj)|apply apow_continuous, p_pos]. }
    destruct (proj1 (filterlim_eps _ _ (Rbar_locally p_infty) _) Lc ((1 - theta) * c i j)
      ltac:(apply Rmult_lt_0_compat; lra)) as [T HT]. exists T. intros t Ht. specialize (HT t Ht).
    apply Rabs_def2 in HT. lra. }
  destruct Near as [T' Near]. set (T := Rmax 0 T' + 1).
  assert (HT : 0 <= T /\ T' < T) by (unfold T; pose proof (Rmax_l 0 T'); pose proof (Rmax_r 0 T'); lra).
  set (n := fun t => norm2 (imbalance_of (J t))).
  assert (Falls : forall t, 0 <= t -> n t <= n 0).
  { intros t Ht. pose proof (imbalance_decays_form eq_dec units alpha p tau nodup p_pos J 0 t rule tau_pos) as X.
    replace (n 0) with (n 0 * exp (- (2 * p * 0 * t / tau))).
    - apply X; [|exact Ht]. intros s Hs. cbv zeta. rewrite Rmult_0_l. apply sum_nonneg. intros i Hi. apply sum_nonneg.
      intros j Hj. apply Rmult_le_pos; [|apply pow2_ge_0]. apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg].
    - replace (- (2 * p * 0 * t / tau)) with 0 by (field; lra). rewrite exp_0. ring. }
  assert (N0 : forall t, 0 <= n t) by (intros t; apply sum_nonneg; intros; apply pow2_ge_0).
  assert (Later : forall t, 0 <= t -> n (T + t) <= n T * exp (- (2 * p * (theta * lam) * t / tau))).
  { intros t Ht. pose proof (imbalance_decays_form eq_dec units alpha p tau nodup p_pos (fun t => J (T + t)) (theta * lam) t
      (rule_later T (proj1 HT)) tau_pos) as X. cbv beta zeta in X. rewrite Rplus_0_r in X.
    apply X; [|exact Ht]. clear X. intros s Hs. rewrite Rmult_assoc.
    apply Rle_trans with (theta * weighted_form c (imbalance_of (J (T + s)))).
    - apply Rmult_le_compat_l; [exact T0|]. apply B, no_new_at. lra.
    - unfold weighted_form. rewrite <- sum_scal. apply sum_le. intros i Hi. rewrite <- sum_scal. apply sum_le.
      intros j Hj. rewrite <- Rmult_assoc. apply Rmult_le_compat_r; [apply pow2_ge_0|].
      destruct (Req_dec (J 0 i j) 0) as [Z|N].
      + rewrite (proj1 (Sup i j Hi Hj) Z), Rmult_0_r.
        apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg].
      + apply Rlt_le, (Near (T + s) ltac:(lra) (i, j)), (synapses_in units alpha). auto. }
  assert (Mono : forall u v, u <= v -> exp u <= exp v)
    by (intros u v [H| ->]; [apply Rlt_le, exp_increasing, H|lra]).
  set (r' := p * (theta * lam) / tau) in *.
  assert (R0 : 0 <= r').
  { unfold r'. apply Rdiv_le_0_compat; [|exact tau_pos]. apply Rmult_le_pos; [lra|apply Rmult_le_pos; lra]. }
  exists (n 0 * exp (2 * r' * T)). intros t Ht. fold (n t).
  apply Rle_trans with (n 0 * exp (2 * r' * T) * exp (- (2 * r' * t))).
  - rewrite Rmult_assoc, <- exp_plus. destruct (Rle_dec T t) as [H|H].
    + pose proof (Later (t - T) ltac:(lra)) as X. replace (T + (t - T)) with t in X by ring.
      eapply Rle_trans; [exact X|].
      replace (- (2 * p * (theta * lam) * (t - T) / tau)) with (2 * r' * T + - (2 * r' * t)) by (unfold r'; field; lra).
      apply Rmult_le_compat_r; [apply Rlt_le, exp_pos|]. apply Falls. lra.
    + eapply Rle_trans; [apply Falls, Ht|]. rewrite <- (Rmult_1_r (n 0)) at 1. apply Rmult_le_compat_l; [apply N0|].
      rewrite <- exp_0. apply Mono. nra.
  - apply Rmult_le_compat_l; [apply Rmult_le_pos; [apply N0|apply Rlt_le, exp_pos]|]. apply Mono. nra.
Qed.

End Rule.
End Rate.
