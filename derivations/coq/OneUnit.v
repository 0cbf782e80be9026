(** * The best scale of one unit, for any regularizer

    Claim [B.optimal-scale-general] (Theorem 3.1 of [B] with the hypotheses that it needs). The unit has
    degree c > 0; t is the logarithm of its scale; [phi e t] is the cost g(|w_e| exp t) of weight e, and
    [psi e t] its derivative, w g'(w) at the scaled weight. If g increases from 0 without bound, the costs
    are coercive. *)

From Balproof Require Import Sums Balance Convergence.

Section OneUnit.
Context {E : Type}.
Variables (ins outs : list E) (phi psi : E -> R -> R) (c : R).

Definition scaled_cost (t : R) : R := (Σ e ∈ ins, phi e t) + (Σ e ∈ outs, phi e (- c * t)).

Definition minimiser (t : R) : Prop := forall s, scaled_cost t <= scaled_cost s.

(** The balance equation: what comes in is c times what goes out. *)
Definition balance_at (t : R) : Prop := (Σ e ∈ ins, psi e t) = c * Σ e ∈ outs, psi e (- c * t).

Hypothesis c_pos : 0 < c.
Hypothesis some_in : ins <> [].
Hypothesis some_out : outs <> [].
Hypothesis derivative : forall e t, In e (ins ++ outs) -> is_derive (phi e) t (psi e t).
Hypothesis coercive : coercive_costs (ins ++ outs) phi.

Lemma scaled_cost_continuous t : continuity_pt scaled_cost t.
Proof.
  apply continuity_pt_filterlim.
  assert (C : forall e s, In e (ins ++ outs) -> continuous (phi e) s).
  { intros e s He. apply (ex_derive_continuous (phi e)). eexists; apply derivative, He. }
  apply (continuous_plus (fun t => Σ e ∈ ins, phi e t) (fun t => Σ e ∈ outs, phi e (- c * t))).
  - apply sum_continuous. intros e He. apply C, in_or_app. left; exact He.
  - apply (sum_continuous outs (fun e t => phi e (- c * t))). intros e He.
    apply (continuous_comp (fun t => - c * t) (phi e)).
    + apply (continuous_scal_r (- c) (fun t : R => t)), continuous_id.
    + apply C, in_or_app. right; exact He.
Qed.

(** There is a best scale: no convexity is needed. *)
Theorem best_scale_exists : exists t, minimiser t.
Proof.
  destruct (list_bound (ins ++ outs) (fun e m => forall t, - m <= phi e t)) as (b & Hb & Hlow).
  { intros e m m' H Hm t. specialize (H t). lra. }
  { intros e He. destruct (coercive e He) as [[b Hb] _]. exists (- b). intros t. specialize (Hb t). lra. }
  set (N := INR (length ins) + INR (length outs)).
  assert (Some_of : forall l : list E, l <> [] -> exists e, In e l)
    by (intros [|e l] H; [contradiction|exists e; left; reflexivity]).
  destruct (Some_of ins some_in) as [e1 I1]. destruct (Some_of outs some_out) as [e2 I2].
  (* the cost exceeds that of any one weight less the lower bounds of the others *)
  assert (Big : forall t, (phi e1 t <= scaled_cost t + N * b) /\ (phi e2 (- c * t) <= scaled_cost t + N * b)).
  { intros t.
    assert (P1 : forall e, In e ins -> 0 <= phi e t + b)
      by (intros e He; pose proof (Hlow e (in_or_app _ _ _ (or_introl He)) t); lra).
    assert (P2 : forall e, In e outs -> 0 <= phi e (- c * t) + b)
      by (intros e He; pose proof (Hlow e (in_or_app _ _ _ (or_intror He)) (- c * t)); lra).
    assert (S : scaled_cost t + N * b = (Σ e ∈ ins, (phi e t + b)) + (Σ e ∈ outs, (phi e (- c * t) + b))).
    { rewrite !sum_plus, !sum_const. unfold scaled_cost, N. ring. }
    rewrite S.
    pose proof (sum_term ins (fun e => phi e t + b) e1 P1 I1).
    pose proof (sum_term outs (fun e => phi e (- c * t) + b) e2 P2 I2).
    pose proof (sum_nonneg ins (fun e => phi e t + b) P1).
    pose proof (sum_nonneg outs (fun e => phi e (- c * t) + b) P2). simpl in *. lra. }
  destruct (proj2 (coercive e1 (in_or_app _ _ _ (or_introl I1))) (scaled_cost 0 + N * b + 1)) as [T1 HT1].
  destruct (proj2 (coercive e2 (in_or_app _ _ _ (or_intror I2))) (scaled_cost 0 + N * b + 1)) as [T2 HT2].
  set (T := Rmax 0 (Rmax T1 (T2 / c))).
  assert (HT : 0 <= T /\ T1 <= T /\ T2 / c <= T).
  { unfold T. pose proof (Rmax_l 0 (Rmax T1 (T2 / c))). pose proof (Rmax_r 0 (Rmax T1 (T2 / c))).
    pose proof (Rmax_l T1 (T2 / c)). pose proof (Rmax_r T1 (T2 / c)). lra. }
  destruct (continuity_ab_min scaled_cost (- T) T) as (t & Hmin & _); [lra|intros; apply scaled_cost_continuous|].
  exists t. intros s.
  assert (H0 : scaled_cost t <= scaled_cost 0) by (apply Hmin; lra).
  destruct (Rle_dec s T) as [Hs|Hs].
  - destruct (Rle_dec (- T) s) as [Hs'|Hs']; [apply Hmin; lra|].
    destruct (Big s) as [_ B].
    assert (X : T2 <= - c * s).
    { replace T2 with (c * (T2 / c)) by (field; lra). replace (- c * s) with (c * - s) by ring.
      apply Rmult_le_compat_l; lra. }
    specialize (HT2 (- c * s) X). lra.
  - destruct (Big s) as [B _]. specialize (HT1 s ltac:(lra)). lra.
Qed.

(** At each of them the balance equation holds. *)
Theorem best_scale_balances t : minimiser t -> balance_at t.
Proof.
  intros Hmin.
  assert (X : (Σ e ∈ ins, psi e t) + (Σ e ∈ outs, - c * psi e (- c * t)) = 0).
  { apply (minimum_derivative (fun s => scaled_cost (t + s))).
    - unfold scaled_cost.
      apply (is_derive_plus (fun s => Σ e ∈ ins, phi e (t + s)) (fun s => Σ e ∈ outs, phi e (- c * (t + s)))).
      + apply (sum_derive ins (fun e s => phi e (t + s))). intros e He.
        evar_last; [apply (is_derive_comp (phi e) (fun s => t + s));
          [apply derivative, in_or_app; left; exact He|auto_derive; [exact I|reflexivity]]|].
        unfold scal; simpl; unfold mult; simpl. rewrite Rplus_0_r. ring.
      + apply (sum_derive outs (fun e s => phi e (- c * (t + s)))). intros e He.
        evar_last; [apply (is_derive_comp (phi e) (fun s => - c * (t + s)));
          [apply derivative, in_or_app; right; exact He|auto_derive; [exact I|reflexivity]]|].
        unfold scal; simpl; unfold mult; simpl. rewrite Rplus_0_r. ring.
    - exists 1. split; [lra|]. intros s _. rewrite Rplus_0_r. apply Hmin. }
  rewrite sum_scal in X. unfold balance_at. lra.
Qed.

(** If w g'(w) increases strictly, one scale balances the unit, and only that is the best. *)
Theorem best_scale_unique :
  (forall e s t, In e (ins ++ outs) -> s < t -> psi e s < psi e t) ->
  exists t, minimiser t /\ balance_at t /\ forall s, (balance_at s \/ minimiser s) -> s = t.
Proof.
  intros inc. destruct best_scale_exists as [t Ht]. exists t.
  assert (Hb : balance_at t) by (apply best_scale_balances, Ht).
  split; [exact Ht|]. split; [exact Hb|].
  assert (Less : forall s s', s < s' -> balance_at s -> ~ balance_at s').
  { intros s s' Hss' B B'. unfold balance_at in *.
    assert (I1 : (Σ e ∈ ins, psi e s) < Σ e ∈ ins, psi e s').
    { assert (exists e, In e ins) as [e1 I1]
        by (destruct ins as [|e l]; [contradiction|exists e; left; reflexivity]).
      apply sum_lt with e1; [|exact I1|].
      - intros e He. apply Rlt_le, inc; [apply in_or_app; left; exact He|exact Hss'].
      - apply inc; [apply in_or_app; left; exact I1|exact Hss']. }
    assert (I2 : (Σ e ∈ outs, psi e (- c * s')) <= Σ e ∈ outs, psi e (- c * s)).
    { apply sum_le. intros e He. apply Rlt_le, inc; [apply in_or_app; right; exact He|nra]. }
    apply Rmult_le_compat_l with (r := c) in I2; lra. }
  intros s Hs.
  assert (Bs : balance_at s) by (destruct Hs as [|Hs]; [assumption|apply best_scale_balances, Hs]).
  destruct (Rtotal_order s t) as [H|[H|H]]; [|exact H|]; exfalso.
  - exact (Less s t H Bs Hb).
  - exact (Less t s H Hb Bs).
Qed.

End OneUnit.

(** The hypotheses can be met: two weights with g(w) = w. *)
Fact one_unit_hypotheses : coercive_costs [true; false] (fun _ t => exp t)
  /\ (forall (e : bool) s t, In e [true; false] -> s < t -> exp s < exp t).
Proof.
  split.
  - intros e _. split; [exists 0; intros t; apply Rlt_le, exp_pos|].
    intros m. exists m. intros s Hs. pose proof (exp_ineq1_le s). lra.
  - intros e s t _. apply exp_increasing.
Qed.
