(** * Balancing a matrix

    Claim [S.osborne]: the coordinate step is Osborne's, a balanced matrix exists just if every synapse lies
    on a directed cycle, it has the least cost, and its scales are unique up to a constant on each weak
    component. Costs alpha_ij |J_ij|^p with alpha > 0; Osborne's have alpha = 1. *)

From Coq Require Import Relations.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Stock.

Section Osborne.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p : R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p).
Hypothesis positive : forall i j, In i units -> In j units -> 0 < alpha i j.

Notation C J := (matrix_cost units alpha p J).
Notation c := (synapse_cost alpha p).
Notation is_balanced := (matrix_balanced units alpha p).

(** ** (a) The coordinate step *)

(** Row k times s, column k divided by s. *)
Definition scale_one (k : U) (s : R) (J : U -> U -> R) i j : R :=
  (if eq_dec i k then s else 1) * J i j / (if eq_dec j k then s else 1).

(** Sums of costs in row k and column k, off the diagonal. *)
Definition row (J : U -> U -> R) k : R := Σ j ∈ units, if eq_dec j k then 0 else c J k j.
Definition column (J : U -> U -> R) k : R := Σ i ∈ units, if eq_dec i k then 0 else c J i k.

Definition osborne_scale J k : R := Rpower (column J k / row J k) (/ (2 * p)).

Lemma scaled_entry k s J i j : 0 < s -> c (scale_one k s J) i j
  = c J i j + ((if eq_dec i k then 1 else 0) * ((Rpower s p - 1) * (if eq_dec j k then 0 else c J k j))
    + (if eq_dec j k then 1 else 0) * ((Rpower s (- p) - 1) * (if eq_dec i k then 0 else c J i k))).
Proof.
  intros Hs. unfold synapse_cost, scale_one.
  destruct (eq_dec i k) as [->|], (eq_dec j k) as [->|].
  - replace (s * J k k / s) with (J k k) by (field; lra). ring.
  - replace (s * J k j / 1) with (s * J k j) by field. rewrite apow_scale by exact Hs. ring.
  - replace (1 * J i k / s) with (/ s * J i k) by (field; lra).
    rewrite apow_scale by apply Rinv_0_lt_compat, Hs.
    replace (Rpower (/ s) p) with (Rpower s (- p)); [ring|]. unfold Rpower. rewrite ln_Rinv by exact Hs. f_equal. ring.
  - replace (1 * J i j / 1) with (J i j) by field. ring.
Qed.

Lemma cost_of_step k s J : In k units -> 0 < s ->
  C (scale_one k s J) = C J - row J k - column J k + cost (row J k) (column J k) p p s.
Proof.
  intros Hk Hs. unfold matrix_cost.
  rewrite (sum_ext units _ (fun i => (Σ j ∈ units, c J i j)
    + ((if eq_dec i k then 1 else 0) * ((Rpower s p - 1) * row J k)
       + (Rpower s (- p) - 1) * (if eq_dec i k then 0 else c J i k)))).
  - rewrite !sum_plus, sum_scal, (sum_delta eq_dec units nodup (fun _ => (Rpower s p - 1) * row J k) k Hk).
    fold (column J k). unfold cost. ring.
  - intros i _. rewrite (sum_ext units _ (fun j => c J i j
      + ((if eq_dec i k then 1 else 0) * ((Rpower s p - 1) * (if eq_dec j k then 0 else c J k j))
        + (if eq_dec j k then 1 else 0) * ((Rpower s (- p) - 1) * (if eq_dec i k then 0 else c J i k)))))
      by (intros; apply scaled_entry, Hs).
    rewrite !sum_plus, !sum_scal.
    rewrite (sum_delta eq_dec units nodup (fun _ => (Rpower s (- p) - 1) * (if eq_dec i k then 0 else c J i k)) k Hk).
    reflexivity.
Qed.

(** [S.osborne] (a): the best scale of row and column k is Osborne's, and no other. *)
Theorem osborne_step k s J : In k units -> 0 < row J k -> 0 < column J k -> 0 < s ->
  C (scale_one k (osborne_scale J k) J) <= C (scale_one k s J) /\
  (s <> osborne_scale J k -> C (scale_one k (osborne_scale J k) J) < C (scale_one k s J)).
Proof.
  intros Hk Hr Hc Hs.
  assert (B : best (row J k) (column J k) p p = osborne_scale J k).
  { unfold best, osborne_scale. f_equal; [field; lra|f_equal; ring]. }
  assert (P : 0 < osborne_scale J k) by apply Rpower_pos.
  rewrite !cost_of_step by assumption. rewrite <- B in *.
  pose proof (best_is_strict_minimum _ _ p p Hr Hc p_pos p_pos s Hs) as M.
  split; [|intros N; specialize (M N); lra].
  destruct (Req_dec s (best (row J k) (column J k) p p)) as [->|N]; [lra|]. specialize (M N). lra.
Qed.

(** After it the sums of the row and the column agree. *)
Theorem osborne_step_balances k J : In k units -> 0 < row J k -> 0 < column J k ->
  row (scale_one k (osborne_scale J k) J) k = column (scale_one k (osborne_scale J k) J) k.
Proof.
  intros Hk Hr Hc. set (s := osborne_scale J k). assert (Hs : 0 < s) by apply Rpower_pos.
  assert (X : row (scale_one k s J) k = Rpower s p * row J k).
  { unfold row. rewrite <- sum_scal. apply sum_ext. intros j _. rewrite scaled_entry by exact Hs.
    destruct (eq_dec k k); [|contradiction]. destruct (eq_dec j k); ring. }
  assert (Y : column (scale_one k s J) k = Rpower s (- p) * column J k).
  { unfold column. rewrite <- sum_scal. apply sum_ext. intros i _. rewrite scaled_entry by exact Hs.
    destruct (eq_dec k k); [|contradiction]. destruct (eq_dec i k); ring. }
  pose proof (balance_at_best (row J k) (column J k) p p Hr Hc p_pos p_pos) as E.
  assert (B : best (row J k) (column J k) p p = s).
  { unfold best, s, osborne_scale. f_equal; [field; lra|f_equal; ring]. }
  rewrite B in E. rewrite X, Y. apply Rmult_eq_reg_l with p; lra.
Qed.

(** ** (b) When a balanced matrix exists *)

Lemma same_synapses x J : synapses units (transformed x J) = synapses units J.
Proof. symmetry. apply (synapses_same units alpha). intros i j _ _. apply transformed_zero. Qed.

(** [S.osborne] (b). *)
Theorem balanceable_iff J : (exists x, is_balanced (transformed x J)) <-> synapses_on_cycles units J.
Proof.
  split.
  - intros [x Hx]. unfold synapses_on_cycles. rewrite <- (same_synapses x J).
    exact (balanced_on_cycles eq_dec units alpha p nodup positive _ Hx).
  - intros H. destruct (balanced_transform eq_dec units alpha p nodup p_pos positive J H) as (x & Hx & _).
    exists x; exact Hx.
Qed.

(** ** (c) Least cost, and uniqueness *)

(** Units that a chain of synapses connects, whichever way these point: a weak component. *)
Definition linked (J : U -> U -> R) (i j : U) : Prop := In i units /\ In j units /\ J i j <> 0.
Definition connected (J : U -> U -> R) : U -> U -> Prop := clos_refl_sym_trans U (linked J).

Lemma cost_moved x y J i j : c (transformed y J) i j
  = c (transformed x J) i j * exp (p * ((y j - x j) - (y i - x i))).
Proof.
  unfold synapse_cost, transformed.
  replace (exp (- y i) * J i j * exp (y j))
    with (exp ((y j - x j) - (y i - x i)) * (exp (- x i) * J i j * exp (x j))).
  - rewrite apow_scale by apply exp_pos. unfold Rpower. rewrite ln_exp. ring.
  - replace (exp ((y j - x j) - (y i - x i)) * (exp (- x i) * J i j * exp (x j)))
      with (exp (((y j - x j) - (y i - x i)) + (- x i + x j)) * J i j) by (rewrite !exp_plus; ring).
    replace ((y j - x j) - (y i - x i) + (- x i + x j)) with (- y i + y j) by ring. rewrite exp_plus. ring.
Qed.

(** [S.osborne] (c): a balanced matrix costs no more than any other in its orbit, and less than those of other
    scales on some synapse. *)
Theorem balanced_least J x y : is_balanced (transformed x J) ->
  C (transformed x J) <= C (transformed y J) /\
  ((exists i j, linked J i j /\ y i - x i <> y j - x j) -> C (transformed x J) < C (transformed y J)).
Proof.
  intros Hx. set (z := fun k => y k - x k). set (K := transformed x J).
  assert (Z : (Σ i ∈ units, Σ j ∈ units, p * (c K i j * (z j - z i))) = 0).
  { rewrite (sum_ext units _ (fun i => (- p) * Σ j ∈ units, c K i j * (z i - z j)))
      by (intros i _; rewrite <- sum_scal; apply sum_ext; intros; ring).
    rewrite sum_scal, <- (imbalance_pairing units alpha p K z).
    rewrite (sum_zero units); [ring|]. intros k Hk. unfold K. rewrite (Hx k Hk). ring. }
  assert (E : C K = Σ i ∈ units, Σ j ∈ units, (c K i j + p * (c K i j * (z j - z i)))).
  { rewrite <- (Rplus_0_r (C K)), <- Z. unfold matrix_cost. rewrite <- sum_plus. apply sum_ext. intros i _.
    rewrite <- sum_plus. reflexivity. }
  assert (P : forall i j, In i units -> In j units -> 0 <= c K i j).
  { intros i j Hi Hj. apply Rmult_le_pos; [apply Rlt_le, positive; assumption|apply apow_nonneg]. }
  assert (L : forall i j, In i units -> In j units ->
    c K i j + p * (c K i j * (z j - z i)) <= c (transformed y J) i j).
  { intros i j Hi Hj. rewrite (cost_moved x y J i j). fold K. fold (z i) (z j).
    pose proof (exp_ineq1_le (p * (z j - z i))). specialize (P i j Hi Hj). nra. }
  rewrite E. split.
  - apply sum_le. intros i Hi. apply sum_le. intros j Hj. apply L; assumption.
  - intros (i & j & (Hi & Hj & Hz) & N). apply sum_lt with i; [|exact Hi|].
    + intros i' Hi'. apply sum_le. intros j' Hj'. apply L; assumption.
    + apply sum_lt with j; [|exact Hj|].
      * intros j' Hj'. apply L; assumption.
      * rewrite (cost_moved x y J i j). fold K. fold (z i) (z j).
        assert (0 < c K i j).
        { apply Rmult_lt_0_compat; [apply positive; assumption|]. apply apow_pos.
          intros X. apply Hz. apply (transformed_zero x J i j), X. }
        assert (p * (z j - z i) <> 0).
        { apply Rmult_integral_contrapositive_currified; [lra|]. intros X. apply N. fold (z i) (z j). lra. }
        pose proof (exp_ineq1 (p * (z j - z i)) ltac:(assumption)). nra.
Qed.

(** [S.osborne] (c): two balanced matrices of an orbit are one, and their scales differ by a constant on each
    weak component ... *)
Theorem balanced_scales_unique J x y : is_balanced (transformed x J) -> is_balanced (transformed y J) ->
  (forall i j, In i units -> In j units -> transformed y J i j = transformed x J i j) /\
  forall i j, connected J i j -> y i - x i = y j - x j.
Proof.
  intros Hx Hy.
  assert (L : forall i j, linked J i j -> y i - x i = y j - x j).
  { intros i j H. destruct (Req_dec (y i - x i) (y j - x j)) as [|N]; [assumption|exfalso].
    destruct (balanced_least J x y Hx) as [_ Lt]. destruct (balanced_least J y x Hy) as [Le _].
    assert (C (transformed x J) < C (transformed y J)) by (apply Lt; exists i, j; auto). lra. }
  split.
  - intros i j Hi Hj. unfold transformed. destruct (Req_dec (J i j) 0) as [->|N]; [ring|].
    specialize (L i j (conj Hi (conj Hj N))).
    transitivity (exp (- y i + y j) * J i j); [rewrite exp_plus; ring|].
    replace (- y i + y j) with (- x i + x j) by lra. rewrite exp_plus. ring.
  - intros i j H. induction H as [i j H|i|i j _ IH|i j k _ IH1 _ IH2]; [apply L, H|reflexivity|lra|lra].
Qed.

(** ... and such constants are free. *)
Theorem component_constants_free J x y :
  (forall i j, connected J i j -> y i - x i = y j - x j) ->
  forall i j, In i units -> In j units -> transformed y J i j = transformed x J i j.
Proof.
  intros H i j Hi Hj. unfold transformed. destruct (Req_dec (J i j) 0) as [->|N]; [ring|].
  specialize (H i j (rst_step _ _ _ _ (conj Hi (conj Hj N)))).
  transitivity (exp (- y i + y j) * J i j); [rewrite exp_plus; ring|].
  replace (- y i + y j) with (- x i + x j) by lra. rewrite exp_plus. ring.
Qed.

End Osborne.
