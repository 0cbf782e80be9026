(** * Several units at once

    Claim [B.simultaneous]. Units with no weight in common are balanced at once as in turn, whatever the
    matrix and the costs. Where all units have one degree c and all weights one p, any units may be balanced
    at once, each as if it were alone: the cost does not rise. *)

From Balproof Require Import Sums Balance LinearAlgebra Graphs Existence.

(** ** Units with no weight in common *)

Section Disjoint.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (A : E -> U -> R) (psi : E -> R -> R).

Notation imb := (imbalance edges units A psi).

(** From h to h' by balancing one unit after the other, in the order of the list. *)
Inductive in_turn : list U -> (U -> R) -> (U -> R) -> Prop :=
  | turn_done h h' : (forall j, h' j = h j) -> in_turn [] h h'
  | turn_step k group h h1 h' : (forall j, j <> k -> h1 j = h j) -> imb h1 k = 0 ->
      in_turn group h1 h' -> in_turn (k :: group) h h'.

(** From h to h' by balancing each unit of the list as if it alone moved. *)
Definition at_once (group : list U) (h h' : U -> R) : Prop :=
  (forall j, ~ In j group -> h' j = h j) /\
  (forall k, In k group -> imb (put eq_dec h k (h' k)) k = 0).

Definition no_weight_in_common (group : list U) : Prop :=
  forall e j k, In e edges -> In j group -> In k group -> j <> k -> A e j = 0 \/ A e k = 0.

(** What other units of the group do is not seen. *)
Lemma imbalance_local group k x y : no_weight_in_common group -> In k group ->
  (forall j, ~ In j group \/ j = k -> x j = y j) -> imb x k = imb y k.
Proof.
  intros Hd Hk Hxy. apply sum_ext. intros e He.
  destruct (Req_dec (A e k) 0) as [->|HA]; [ring|]. do 2 f_equal.
  apply sum_ext. intros j _. destruct (in_dec eq_dec j group) as [Hj|Hj].
  - destruct (eq_dec j k) as [->|Hne]; [rewrite Hxy by auto; reflexivity|].
    destruct (Hd e j k He Hj Hk Hne) as [->|C]; [ring|contradiction].
  - rewrite Hxy by auto. reflexivity.
Qed.

Theorem at_once_is_in_turn group h h' : no_weight_in_common group -> NoDup group ->
  (in_turn group h h' <-> at_once group h h').
Proof.
  intros Hd. revert h. induction group as [|k group IH]; intros h Hn.
  - split.
    + inversion 1; subst. split; [auto|intros j []].
    + intros [H _]. apply turn_done. intros j. apply H. intros [].
  - apply NoDup_cons_iff in Hn as [Hk Hn].
    assert (Hd' : no_weight_in_common group)
      by (intros e i j He Hi Hj; apply (Hd e i j He); right; assumption).
    specialize (fun h => IH Hd' h Hn). split.
    + inversion 1 as [|k' g' h0 h1 h2 Hoff Hbal Hrest]; subst. apply IH in Hrest as [R1 R2].
      assert (Hsame : forall j, ~ In j (k :: group) \/ j = k -> h1 j = put eq_dec h k (h' k) j).
      { intros j Hj. destruct (eq_dec j k) as [->|Hne]; [rewrite put_same; symmetry; apply R1, Hk|].
        rewrite put_other by exact Hne. apply Hoff, Hne. }
      split.
      * intros j Hj. rewrite R1 by (intros X; apply Hj; right; exact X). apply Hoff.
        intros ->. apply Hj. left; reflexivity.
      * intros j [<-|Hj].
        -- rewrite <- Hbal. symmetry. apply (imbalance_local (k :: group)); auto. left; reflexivity.
        -- rewrite <- (R2 j Hj). apply (imbalance_local (k :: group)); [exact Hd|right; exact Hj|].
           intros i Hi. unfold put. destruct (eq_dec i j) as [->|Hne]; [reflexivity|].
           symmetry. apply Hoff. intros ->. destruct Hi as [Hi|Hi]; [apply Hi; left; reflexivity|].
           apply Hne, Hi.
    + intros [R1 R2]. apply turn_step with (put eq_dec h k (h' k)).
      * intros j Hj. apply put_other, Hj.
      * apply R2. left; reflexivity.
      * apply IH. split.
        -- intros j Hj. destruct (eq_dec j k) as [->|Hne]; [symmetry; apply put_same|].
           rewrite put_other by exact Hne. apply R1. intros [->|C]; [apply Hne; reflexivity|contradiction].
        -- intros j Hj. rewrite <- (R2 j (or_intror Hj)). apply (imbalance_local (k :: group));
             [exact Hd|right; exact Hj|].
           intros i Hi. unfold put. destruct (eq_dec i j) as [->|Hne]; [reflexivity|].
           destruct (eq_dec i k) as [->|]; [|reflexivity].
           destruct Hi as [Hi|Hi]; [exfalso; apply Hi; left; reflexivity|exfalso; apply Hne, Hi].
Qed.

End Disjoint.

(** ** All at once, with one degree c and one p *)

Section Together.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (source target : E -> option U) (a : E -> R) (p c : R).

(** The matrix of a graph whose units have degree c. *)
Definition degree_incidence (e : E) (k : U) : R :=
  at_unit eq_dec (target e) k - c * at_unit eq_dec (source e) k.

Notation A := degree_incidence.
Notation total := (total_cost edges units A (fun e => power_cost (a e) p)).
Notation imb := (imbalance edges units A (fun e => power_marginal (a e) p)).

Hypothesis wf : well_formed edges units source target.
Hypotheses (p_pos : 0 < p) (c_pos : 0 < c).
Hypothesis a_pos : forall e, In e edges -> 0 < a e.
Hypothesis loops : forall e k, In e edges -> source e = Some k -> target e = Some k -> c = 1.

Lemma degree_scale h e : In e edges ->
  log_scale units A h e = node_scale h (target e) - c * node_scale h (source e).
Proof.
  intros He. destruct wf as (_ & _ & Hends). unfold log_scale, degree_incidence.
  rewrite (sum_ext units _ (fun k => at_unit eq_dec (target e) k * h k - c * (at_unit eq_dec (source e) k * h k)))
    by (intros; ring).
  rewrite sum_minus, sum_scal, !(at_unit_scale eq_dec edges units source target wf); [reflexivity| |];
    intros k Hk; apply (Hends e k He); auto.
Qed.

(** e^(x - c y), the factor of a weight, is at most a mean of powers of its ends' factors. *)
Lemma factor_bound (x y : R) :
  exp (x - c * y) <= (exp ((1 + c) * x) + c * exp (- ((1 + c) * y))) / (1 + c) /\
  (exp (x - c * y) = (exp ((1 + c) * x) + c * exp (- ((1 + c) * y))) / (1 + c) <-> x + y = 0).
Proof.
  set (v := x + y).
  assert (E1 : exp ((1 + c) * x) = exp (x - c * y) * exp (c * v)) by (rewrite <- exp_plus; f_equal; unfold v; ring).
  assert (E2 : exp (- ((1 + c) * y)) = exp (x - c * y) * exp (- v)) by (rewrite <- exp_plus; f_equal; unfold v; ring).
  rewrite E1, E2. pose proof (exp_pos (x - c * y)) as P. set (f := exp (x - c * y)) in *.
  assert (D : (f * exp (c * v) + c * (f * exp (- v))) / (1 + c) - f
    = f / (1 + c) * ((exp (c * v) - 1 - c * v) + c * (exp (- v) - 1 - - v))) by (field; lra).
  assert (Q : 0 < f / (1 + c)) by (apply Rdiv_lt_0_compat; lra).
  pose proof (exp_ineq1_le (c * v)) as I1. pose proof (exp_ineq1_le (- v)) as I2.
  assert (I3 : 0 <= c * (exp (- v) - 1 - - v)) by (apply Rmult_le_pos; lra).
  split; [|split].
  - assert (0 <= f / (1 + c) * ((exp (c * v) - 1 - c * v) + c * (exp (- v) - 1 - - v)))
      by (apply Rmult_le_pos; lra). lra.
  - intros X. destruct (Req_dec v 0) as [|Hv]; [assumption|exfalso].
    pose proof (exp_ineq1 (- v) ltac:(lra)) as I4.
    assert (0 < c * (exp (- v) - 1 - - v)) by (apply Rmult_lt_0_compat; lra).
    assert (0 < f / (1 + c) * ((exp (c * v) - 1 - c * v) + c * (exp (- v) - 1 - - v)))
      by (apply Rmult_lt_0_compat; lra). lra.
  - intros V. fold v in V. rewrite V, Rmult_0_r, Ropp_0, exp_0. field. lra.
Qed.

(** Each unit is balanced as if it alone moved, or is left as it is, as dead units are. *)
Definition together (h h' : U -> R) : Prop :=
  forall k, In k units -> imb (put eq_dec h k (h' k)) k = 0 \/ h' k = h k.

Section Step.
Variables h h' : U -> R.
Hypothesis step : together h h'.

Let u (k : U) : R := p * (h' k - h k).
Let omega (e : E) : R := a e * exp (p * log_scale units A h e).
(** 1 for weights between two nodes, 0 for loops *)
Let between (e : E) : R := if decide (source e = target e) then 0 else 1.

Lemma omega_pos e : In e edges -> 0 < omega e.
Proof. intros He. apply Rmult_lt_0_compat; [apply a_pos, He|apply exp_pos]. Qed.

Lemma loop_factor e : In e edges -> source e = target e ->
  node_scale u (target e) - c * node_scale u (source e) = 0.
Proof.
  intros He L. rewrite L. destruct (target e) as [k|] eqn:T; simpl; [|ring].
  rewrite (loops e k He L T). ring.
Qed.

Lemma weight_cost_after e : In e edges ->
  power_cost (a e) p (log_scale units A h' e) = omega e * exp (node_scale u (target e) - c * node_scale u (source e)).
Proof.
  intros He. unfold power_cost, omega. rewrite Rmult_assoc, <- exp_plus. do 2 f_equal.
  rewrite !degree_scale by exact He. unfold u. destruct (target e), (source e); simpl; ring.
Qed.

(** What the bounds add to 1, at the two ends of a weight. *)
Let up (k : U) : R := exp ((1 + c) * u k) - 1.
Let down (k : U) : R := exp (- ((1 + c) * u k)) - 1.

Lemma node_up n : exp ((1 + c) * node_scale u n) - 1 = node_scale up n.
Proof. destruct n; simpl; [reflexivity|]. rewrite Rmult_0_r, exp_0. ring. Qed.

Lemma node_down n : exp (- ((1 + c) * node_scale u n)) - 1 = node_scale down n.
Proof. destruct n; simpl; [reflexivity|]. rewrite Rmult_0_r, Ropp_0, exp_0. ring. Qed.

Lemma unit_share k : In k units ->
  up k * (Σ e ∈ edges, at_unit eq_dec (target e) k * (between e * omega e))
  + c * (down k * (Σ e ∈ edges, at_unit eq_dec (source e) k * (between e * omega e))) = 0.
Proof.
  intros Hk. set (I := sum edges _). set (O := Σ e ∈ edges, at_unit eq_dec (source e) k * (between e * omega e)).
  destruct (step k Hk) as [Hbal|Hstay].
  - assert (B : p * (exp (u k) * I - c * (exp (- (c * u k)) * O)) = 0).
    { rewrite <- Hbal. unfold I, O. rewrite <- !sum_scal, <- sum_minus, <- sum_scal. apply sum_ext.
      intros e He. unfold power_marginal.
      set (y := put eq_dec h k (h' k)).
      assert (Y : log_scale units A y e = log_scale units A h e + A e k * (h' k - h k)).
      { assert (D : log_scale units A (fun j => y j - h j) e = A e k * (h' k - h k)).
        { unfold log_scale. rewrite <- (sum_pick eq_dec units (fun j => A e j * (h' k - h k)) k (proj1 wf) Hk).
          apply sum_ext. intros j _. unfold y, put. destruct (eq_dec j k) as [->|]; ring. }
        rewrite log_scale_minus in D. lra. }
      rewrite Y. replace (p * (log_scale units A h e + A e k * (h' k - h k)))
        with (p * log_scale units A h e + A e k * u k) by (unfold u; ring).
      rewrite exp_plus. unfold omega, between, degree_incidence, at_unit.
      destruct (decide (source e = target e)) as [L|L].
      - rewrite L. destruct (target e) as [j|] eqn:T; [|ring].
        destruct (eq_dec j k) as [->|]; [|ring]. rewrite (loops e k He L T). ring.
      - destruct (target e) as [j|], (source e) as [i|]; try (exfalso; apply L; reflexivity).
        + destruct (eq_dec j k) as [->|], (eq_dec i k) as [->|]; try (exfalso; apply L; reflexivity).
          * replace ((1 - c * 0) * u k) with (u k) by ring. ring.
          * replace ((0 - c * 1) * u k) with (- (c * u k)) by ring. ring.
          * ring.
        + destruct (eq_dec j k) as [->|]; [|ring]. replace ((1 - c * 0) * u k) with (u k) by ring. ring.
        + destruct (eq_dec i k) as [->|]; [|ring].
          replace ((0 - c * 1) * u k) with (- (c * u k)) by ring. ring. }
    destruct (Rmult_integral _ _ B) as [C|B']; [lra|].
    assert (B1 : exp ((1 + c) * u k) * I = c * O).
    { replace ((1 + c) * u k) with (c * u k + u k) by ring. rewrite exp_plus, Rmult_assoc.
      replace (exp (u k) * I) with (c * (exp (- (c * u k)) * O)) by lra.
      rewrite exp_Ropp. field. apply Rgt_not_eq, exp_pos. }
    assert (B2 : exp (- ((1 + c) * u k)) * (c * O) = I).
    { rewrite <- B1, exp_Ropp. field. apply Rgt_not_eq, exp_pos. }
    unfold up, down. replace ((exp ((1 + c) * u k) - 1) * I + c * ((exp (- ((1 + c) * u k)) - 1) * O))
      with (exp ((1 + c) * u k) * I - I + (exp (- ((1 + c) * u k)) * (c * O) - c * O)) by ring.
    rewrite B1, B2. ring.
  - unfold up, down, u. rewrite Hstay. replace (p * (h k - h k)) with 0 by ring.
    rewrite Rmult_0_r, Ropp_0, exp_0. ring.
Qed.

Let bound (e : E) : R :=
  (exp ((1 + c) * node_scale u (target e)) + c * exp (- ((1 + c) * node_scale u (source e)))) / (1 + c).

(** The bounds of all weights add up to the old cost: what they add to it is 0. *)
Lemma bounds_add_up : (Σ e ∈ edges, between e * omega e * (bound e - 1)) = 0.
Proof.
  destruct wf as (Hu & Hed & Hends).
  rewrite (sum_ext edges _ (fun e => / (1 + c) * (between e * omega e * node_scale up (target e)
    + c * (between e * omega e * node_scale down (source e))))).
  - rewrite sum_scal, sum_plus, sum_scal.
    assert (Node : forall (f : U -> R) (end_ : E -> option U), (forall e k, In e edges -> end_ e = Some k -> In k units) ->
      (Σ e ∈ edges, between e * omega e * node_scale f (end_ e))
      = Σ k ∈ units, f k * (Σ e ∈ edges, at_unit eq_dec (end_ e) k * (between e * omega e))).
    { intros f end_ Hend.
      rewrite (sum_ext units _ (fun k => Σ e ∈ edges, f k * (at_unit eq_dec (end_ e) k * (between e * omega e))))
        by (intros; symmetry; apply sum_scal).
      rewrite <- sum_swap. apply sum_ext. intros e He.
      rewrite <- (at_unit_scale eq_dec edges units source target wf f (end_ e)) by (intros k; apply Hend, He).
      rewrite <- sum_scal. apply sum_ext. intros; ring. }
    rewrite (Node up target), (Node down source) by (intros; eapply Hends; eauto).
    rewrite <- sum_scal, <- sum_plus, sum_zero; [ring|].
    intros k Hk. apply unit_share, Hk.
  - intros e He. rewrite <- node_up, <- node_down. unfold bound. field. lra.
Qed.

(** What the cost falls by is the sum of what the bounds leave. *)
Lemma fall : total h - total h'
  = Σ e ∈ edges, between e * omega e * (bound e - exp (node_scale u (target e) - c * node_scale u (source e))).
Proof.
  rewrite (sum_ext edges (fun e => between e * omega e * (bound e - exp _)) (fun e =>
    between e * omega e * (bound e - 1)
    + (power_cost (a e) p (log_scale units A h e) - power_cost (a e) p (log_scale units A h' e)))).
  - rewrite sum_plus, bounds_add_up, sum_minus. unfold total_cost. ring.
  - intros e He. rewrite weight_cost_after by exact He. change (power_cost (a e) p (log_scale units A h e)) with (omega e).
    unfold between. destruct (decide (source e = target e)) as [L|L]; [|ring].
    rewrite (loop_factor e He L), exp_0. ring.
Qed.

Lemma rest_nonneg e : In e edges -> 0 <= between e * omega e
  * (bound e - exp (node_scale u (target e) - c * node_scale u (source e))).
Proof.
  intros He. pose proof (omega_pos e He).
  pose proof (proj1 (factor_bound (node_scale u (target e)) (node_scale u (source e)))) as F. fold (bound e) in F.
  apply Rmult_le_pos; [|lra]. unfold between. destruct (decide _); lra.
Qed.

(** [B.simultaneous]: the cost does not rise. *)
Theorem together_does_not_raise : total h' <= total h.
Proof. pose proof fall as F. pose proof (sum_nonneg edges _ rest_nonneg). lra. Qed.

(** It stays as it is just if, along every weight that is no loop, the log-scales of the steps of the two
    ends add up to 0. *)
Theorem together_keeps_iff : total h' = total h <->
  forall e, In e edges -> source e <> target e ->
    node_scale (fun k => h' k - h k) (target e) + node_scale (fun k => h' k - h k) (source e) = 0.
Proof.
  assert (N : forall n, node_scale u n = p * node_scale (fun k => h' k - h k) n)
    by (intros [k|]; simpl; [reflexivity|ring]).
  split.
  - intros Eq e He Hne.
    assert (Z : between e * omega e * (bound e - exp (node_scale u (target e) - c * node_scale u (source e))) = 0).
    { apply (sum_eq_zero edges (fun e => between e * omega e
        * (bound e - exp (node_scale u (target e) - c * node_scale u (source e))))); [exact rest_nonneg| |exact He].
      rewrite <- fall. lra. }
    pose proof (omega_pos e He) as P. unfold between in Z.
    destruct (decide (source e = target e)) as [C|_]; [contradiction|].
    assert (X : exp (node_scale u (target e) - c * node_scale u (source e)) = bound e).
    { rewrite Rmult_1_l in Z. destruct (Rmult_integral _ _ Z); lra. }
    apply factor_bound in X. rewrite !N in X.
    apply Rmult_eq_reg_l with p; lra.
  - intros H. pose proof fall as F. rewrite sum_zero in F; [lra|]. intros e He. unfold between.
    destruct (decide (source e = target e)) as [_|L]; [ring|].
    assert (X : exp (node_scale u (target e) - c * node_scale u (source e)) = bound e).
    { apply factor_bound. rewrite !N, <- Rmult_plus_distr_l, H by assumption. ring. }
    rewrite X. ring.
Qed.

(** If each unit is in one component with the visible node, it stays only where no unit moves, so that all
    units that were to be balanced were so before. *)
Theorem together_keeps_only_at_balance :
  (forall k, In k units -> linked edges source target None (Some k)) -> total h' = total h ->
  forall k, In k units -> h' k = h k /\ (imb (put eq_dec h k (h' k)) k = 0 -> imb h k = 0).
Proof.
  intros Hl Eq. rewrite together_keeps_iff in Eq.
  set (d := fun k => h' k - h k) in *.
  assert (Z : forall a n, linked edges source target a n -> node_scale d a = 0 -> node_scale d n = 0).
  { intros n0 n L H0. induction L as [n|e n0 He _ IH|e n0 He _ IH]; [exact H0| |];
      specialize (IH H0); (destruct (decide (source e = target e)) as [X|X]; [congruence|]);
      pose proof (Eq e He X); lra. }
  intros k Hk. pose proof (Z _ _ (Hl k Hk) eq_refl) as Hz. simpl in Hz. unfold d in Hz.
  assert (Hh : h' k = h k) by lra. split; [exact Hh|]. intros Hbal. rewrite <- Hbal.
  apply sum_ext. intros e _. do 2 f_equal. apply sum_ext. intros j _. f_equal. unfold put.
  destruct (eq_dec j k) as [->|]; [symmetry; exact Hh|reflexivity].
Qed.

End Step.
End Together.
