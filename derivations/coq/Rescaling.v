(** * Rescaling keeps what a network computes

    Claims [B.scaling-preserves] and [S.trajectories]. *)

From Balproof Require Import Sums Homogeneous.

(** ** Networks

    A unit sums what arrives over its incoming edges and applies its activation; a unit marked as input
    shows the value given from outside (the constant 1, say, for biases). Any directed graph is allowed. *)

Record network : Type := Network {
  unit : Type;
  edge : Type;
  source : edge -> unit;
  target : edge -> unit;
  into : unit -> list edge;
  into_target : forall i e, In e (into i) -> target e = i;
  input : unit -> bool;
  activation : unit -> R -> R;
}.

(** [y] holds the outputs of all units for weights [w] and given values [x]. *)
Definition is_state (N : network) (w : edge N -> R) (x y : unit N -> R) : Prop :=
  forall i, y i = if input N i then x i
                  else activation N i (Σ e ∈ into N i, w e * y (source N e)).

Definition acyclic (N : network) : Prop :=
  exists rank : unit N -> nat,
    forall i e, In e (into N i) -> (rank (source N e) < rank i)%nat.

(** An acyclic network computes a function: there is one state, and only one. *)
Theorem acyclic_unique_state (N : network) (w : edge N -> R) (x y y' : unit N -> R) :
  acyclic N -> is_state N w x y -> is_state N w x y' -> forall i, y i = y' i.
Proof.
  intros [rank Hrank] Hy Hy'.
  assert (H : forall n i, (rank i < n)%nat -> y i = y' i).
  { induction n as [|n IH]; intros i Hi; [lia|].
    rewrite (Hy i), (Hy' i). destruct (input N i); [reflexivity|]. f_equal.
    apply sum_ext. intros e He. f_equal. apply IH. specialize (Hrank i e He). lia. }
  intros i. apply (H (S (rank i))). lia.
Qed.

Theorem acyclic_state_exists (N : network) (w : edge N -> R) (x : unit N -> R) :
  acyclic N -> exists y, is_state N w x y.
Proof.
  intros [rank Hrank].
  pose (run := fix run n i := match n with
    | O => 0
    | S m => if input N i then x i
             else activation N i (Σ e ∈ into N i, w e * run m (source N e))
    end).
  assert (stable : forall n i m, (rank i < n)%nat -> (rank i < m)%nat -> run n i = run m i).
  { induction n as [|n IH]; intros i m Hn Hm; [lia|]. destruct m as [|m]; [lia|]. simpl.
    destruct (input N i); [reflexivity|]. f_equal. apply sum_ext. intros e He. f_equal.
    specialize (Hrank i e He). apply IH; lia. }
  exists (fun i => run (S (rank i)) i). intros i. simpl run at 1.
  destruct (input N i); [reflexivity|]. f_equal. apply sum_ext. intros e He. f_equal.
  specialize (Hrank i e He). apply stable; lia.
Qed.

(** ** Scales

    Unit [i] has a positive scale [l i], by which its incoming weights are multiplied, and an activation
    of degree [c i]; its output is then multiplied by [l i ^ c i], by which outgoing weights are divided. *)

Section Scales.
Variables (N : network) (c l : unit N -> R).

Definition output_scale (i : unit N) : R := if input N i then 1 else Rpower (l i) (c i).

Definition rescale (w : edge N -> R) (e : edge N) : R :=
  l (target N e) * w e / output_scale (source N e).

(** Units that are scaled are homogeneous, of degree [c i]; the others may be anything. *)
Definition degrees : Prop :=
  forall i, input N i = false -> l i = 1 \/ homogeneous_of_degree (c i) (activation N i).

Lemma scaled_activation i z : degrees -> 0 < l i -> input N i = false ->
  activation N i (l i * z) = Rpower (l i) (c i) * activation N i z.
Proof.
  intros Hc Hl Hi. destruct (Hc i Hi) as [E|H]; [|apply H, Hl].
  rewrite E, Rpower_1_base, !Rmult_1_l. reflexivity.
Qed.

Lemma output_scale_pos i : 0 < output_scale i.
Proof. unfold output_scale. destruct (input N i); [lra|apply Rpower_pos]. Qed.

Lemma preactivation (w : edge N -> R) (y : unit N -> R) (i : unit N) :
  (Σ e ∈ into N i, rescale w e * (output_scale (source N e) * y (source N e)))
  = l i * Σ e ∈ into N i, w e * y (source N e).
Proof.
  rewrite <- sum_scal. apply sum_ext. intros e He. unfold rescale.
  rewrite (into_target N i e He). field. apply Rgt_not_eq, output_scale_pos.
Qed.

(** [B.scaling-preserves], for every architecture, recurrent ones included: states go to states. *)
Theorem rescaling_keeps_states (w : edge N -> R) (x y : unit N -> R) :
  degrees -> (forall i, 0 < l i) ->
  is_state N w x y -> is_state N (rescale w) x (fun i => output_scale i * y i).
Proof.
  intros Hc Hl Hy i. rewrite preactivation. rewrite (Hy i) at 1. unfold output_scale.
  destruct (input N i) eqn:Hi; [ring|]. symmetry. apply scaled_activation; auto.
Qed.

(** [B.scaling-preserves] for acyclic networks: the outputs are the same, for every input. *)
Theorem scaling_preserves (w : edge N -> R) (x y y' : unit N -> R) (o : unit N) :
  acyclic N -> degrees -> (forall i, 0 < l i) -> l o = 1 ->
  is_state N w x y -> is_state N (rescale w) x y' -> y' o = y o.
Proof.
  intros Hac Hc Hl Ho Hy Hy'.
  rewrite (acyclic_unique_state N _ x y' _ Hac Hy' (rescaling_keeps_states w x y Hc Hl Hy) o).
  unfold output_scale. rewrite Ho, Rpower_1_base. destruct (input N o); ring.
Qed.

(** Over time: the state at each step is computed from the one before. The initial state scales too. *)
Definition is_run (w : edge N -> R) (x y : nat -> unit N -> R) : Prop :=
  forall t i, y (S t) i = if input N i then x (S t) i
                          else activation N i (Σ e ∈ into N i, w e * y t (source N e)).

Theorem scaling_preserves_runs (w : edge N -> R) (x y y' : nat -> unit N -> R) (o : unit N) :
  degrees -> (forall i, 0 < l i) -> l o = 1 ->
  is_run w x y -> is_run (rescale w) x y' ->
  (forall i, y' O i = output_scale i * y O i) -> forall t, y' t o = y t o.
Proof.
  intros Hc Hl Ho Hy Hy' H0.
  assert (H : forall t i, y' t i = output_scale i * y t i).
  { induction t as [|t IH]; [exact H0|]. intros i. rewrite (Hy' t i), (Hy t i).
    rewrite (sum_ext _ _ (fun e => rescale w e * (output_scale (source N e) * y t (source N e))))
      by (intros e _; rewrite IH; reflexivity).
    rewrite preactivation. unfold output_scale. destruct (input N i) eqn:Hi; [ring|].
    apply scaled_activation; auto. }
  intros t. rewrite H. unfold output_scale. rewrite Ho, Rpower_1_base. destruct (input N o); ring.
Qed.

End Scales.

(** Scalings commute: one after the other is the scaling by the product, in either order. *)
Theorem scalings_compose (N : network) (c l m : unit N -> R) (w : edge N -> R) (e : edge N) :
  (forall i, 0 < l i) -> (forall i, 0 < m i) ->
  rescale N c l (rescale N c m w) e = rescale N c (fun i => l i * m i) w e.
Proof.
  intros Hl Hm. unfold rescale, output_scale. destruct (input N (source N e)); [field|].
  rewrite <- Rpower_mult_distr by auto. field.
  split; apply Rgt_not_eq, Rpower_pos.
Qed.

Theorem scalings_commute (N : network) (c l m : unit N -> R) (w : edge N -> R) (e : edge N) :
  (forall i, 0 < l i) -> (forall i, 0 < m i) ->
  rescale N c l (rescale N c m w) e = rescale N c m (rescale N c l w) e.
Proof.
  intros Hl Hm. rewrite !scalings_compose by assumption.
  unfold rescale, output_scale. rewrite Rmult_comm with (r1 := l (target N e)).
  destruct (input N (source N e)); [|rewrite Rmult_comm with (r1 := l (source N e))]; reflexivity.
Qed.

(** One unit [k], as the paper has it: incoming weights times [s], outgoing weights divided by [s^c]. *)
Section OneUnit.
Variables (N : network) (dec : forall i j : unit N, {i = j} + {i <> j}) (c : unit N -> R).

Definition scale_unit (k : unit N) (s : R) (w : edge N -> R) (e : edge N) : R :=
  (if dec (target N e) k then s else 1) * w e / (if dec (source N e) k then Rpower s (c k) else 1).

Theorem unit_scaling_preserves (k o : unit N) (s : R) (w : edge N -> R) (x y y' : unit N -> R) :
  acyclic N -> homogeneous_of_degree (c k) (activation N k) -> input N k = false -> o <> k -> 0 < s ->
  is_state N w x y -> is_state N (scale_unit k s w) x y' -> y' o = y o.
Proof.
  intros Hac Hc Hk Ho Hs Hy Hy'. set (l := fun i => if dec i k then s else 1).
  apply (scaling_preserves N c l w x y y' o); auto.
  - intros i _. unfold l. destruct (dec i k) as [->|]; auto.
  - intros i. unfold l. destruct (dec i k); lra.
  - unfold l. destruct (dec o k); [contradiction|reflexivity].
  - intros i. rewrite (Hy' i). destruct (input N i); [reflexivity|]. f_equal.
    apply sum_ext. intros e He. f_equal. unfold scale_unit, rescale, output_scale, l.
    destruct (dec (source N e) k) as [E|E].
    + rewrite E, Hk. reflexivity.
    + rewrite Rpower_1_base. destruct (input N (source N e)); reflexivity.
Qed.

End OneUnit.

(** ** Continuous time

    [x' = - x + J phi(x) + W u + b], read out as [V x]; see paper [S]. *)

Section Trajectories.
Variables (U I O : Type) (units : list U) (inputs : list I) (phi : U -> R -> R).

Definition trajectory (J : U -> U -> R) (W : U -> I -> R) (b : U -> R) (u : I -> R -> R)
    (x : U -> R -> R) : Prop :=
  forall i t, is_derive (x i) t
    (- x i t + (Σ j ∈ units, J i j * phi j (x j t)) + (Σ m ∈ inputs, W i m * u m t) + b i).

Definition read_out (V : O -> U -> R) (x : U -> R -> R) (o : O) (t : R) : R :=
  Σ j ∈ units, V o j * x j t.

Variable h : U -> R.
Definition J' (J : U -> U -> R) i j := exp (- h i) * J i j * exp (h j).
Definition W' (W : U -> I -> R) i m := exp (- h i) * W i m.
Definition b' (b : U -> R) i := exp (- h i) * b i.
Definition V' (V : O -> U -> R) o j := V o j * exp (h j).
Definition x' (x : U -> R -> R) i t := exp (- h i) * x i t.

(** [S.trajectories]: the trajectories of the rescaled network from rescaled initial states are the
    rescaled trajectories (so there are as many of the one as of the other), with the same read-out. *)
Theorem trajectories_scale J W b u x :
  (forall j, positively_homogeneous (phi j)) ->
  trajectory J W b u x <-> trajectory (J' J) (W' W) (b' b) u (x' x).
Proof.
  intros Hphi.
  assert (E : forall i, exp (- h i) * exp (h i) = 1)
    by (intros i; rewrite <- exp_plus, Rplus_opp_l; apply exp_0).
  assert (D : forall i t, exp (- h i) *
      (- x i t + (Σ j ∈ units, J i j * phi j (x j t)) + (Σ m ∈ inputs, W i m * u m t) + b i)
    = - x' x i t + (Σ j ∈ units, J' J i j * phi j (x' x j t)) + (Σ m ∈ inputs, W' W i m * u m t) + b' b i).
  { intros i t. unfold x', J', W', b'.
    rewrite !Rmult_plus_distr_l, <- !sum_scal.
    repeat apply (f_equal2 Rplus).
    - ring.
    - apply sum_ext. intros j _. rewrite Hphi by apply exp_pos.
      transitivity (exp (- h i) * J i j * (exp (- h j) * exp (h j)) * phi j (x j t)); [rewrite E|]; ring.
    - apply sum_ext. intros m _. ring.
    - reflexivity. }
  split; intros H i t.
  - rewrite <- D. apply is_derive_scal, H.
  - apply is_derive_ext with (fun s => exp (h i) * x' x i s).
    + intros s. unfold x'. rewrite <- Rmult_assoc, (Rmult_comm (exp (h i))), E. apply Rmult_1_l.
    + replace (- x i t + (Σ j ∈ units, J i j * phi j (x j t)) + (Σ m ∈ inputs, W i m * u m t) + b i)
        with (exp (h i) * (- x' x i t + (Σ j ∈ units, J' J i j * phi j (x' x j t))
              + (Σ m ∈ inputs, W' W i m * u m t) + b' b i)).
      * apply is_derive_scal, H.
      * rewrite <- D, <- Rmult_assoc, (Rmult_comm (exp (h i))), E. ring.
Qed.

Theorem read_out_kept V x o t : read_out (V' V) (x' x) o t = read_out V x o t.
Proof.
  apply sum_ext. intros j _. unfold V', x'.
  transitivity (V o j * (exp (h j) * exp (- h j)) * x j t); [ring|].
  rewrite <- exp_plus, Rplus_opp_r, exp_0. ring.
Qed.

End Trajectories.

(** ** Examples *)

(** One ReLU unit (1) between an input (0) and an output (2): the hypotheses can be met. *)
Definition chain : network := {|
  unit := nat; edge := nat;
  source := fun e => e; target := fun e => S e;
  into := fun i => match i with 1%nat => [0%nat] | 2%nat => [1%nat] | _ => [] end;
  into_target := ltac:(intros [|[|[|i]]] e; simpl; intuition congruence);
  input := fun i => match i with O => true | _ => false end;
  activation := fun _ => relu;
|}.

Fact chain_acyclic : acyclic chain.
Proof.
  exists (fun i => i). intros [|[|[|i]]] e; simpl; intros He; try contradiction;
    destruct He as [<-|[]]; auto with arith.
Qed.

Fact chain_degrees : degrees chain (fun _ => 1) (fun i => match i with 1%nat => 3 | _ => 1 end).
Proof. intros i _. right. apply degree_one, relu_homogeneous. Qed.

(** Twin: a bias that is left out of the scaling changes the function. *)
Fact bias_must_scale : relu (2 * 1 + 1) / 2 <> relu (1 + 1).
Proof. unfold relu. destruct (Rlt_dec _ 0), (Rlt_dec _ 0); lra. Qed.
