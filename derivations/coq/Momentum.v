(** * Momentum

    How the deficits z = A^T w^2 change where steps or flows have momentum. Claim [R.broken]; the error is
    invariant under rescaling and g is its gradient, as in [Gradient]. *)

From Balproof Require Import Sums Balance Gradient.

Section Momentum.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (Err : (E -> R) -> R).
Hypothesis inv : invariant units A Err.

Notation deficit := (deficit edges A).

(** The terms that are linear in the gradient vanish; this is all that the laws need. *)
Lemma no_gradient w g k : has_gradient edges Err w g -> In k units -> deficit (fun e => w e * g e) k = 0.
Proof. intros Hg. apply (gradient_identity edges units A Err w g inv Hg). Qed.

(** ** In steps *)

(** m' = beta m + g + mu w and w' = w - eta m', from m = 0. *)
Definition momentum_steps (beta mu eta : R) (w m : nat -> E -> R) : Prop :=
  (forall e, In e edges -> m O e = 0) /\
  forall n, exists g, has_gradient edges Err (w n) g /\ forall e, In e edges ->
    m (S n) e = beta * m n e + g e + mu * w n e /\ w (S n) e = w n e - eta * m (S n) e.

(** c = A^T (w m'), what enters z to first order; 0 before the first step. *)
Definition crossed (w m : nat -> E -> R) (k : U) (n : nat) : R :=
  match n with O => 0 | S i => deficit (fun e => w i e * m (S i) e) k end.

(** [R.broken] (3): z and c follow a recurrence in which only the squares of m are left. *)
Theorem momentum_law beta mu eta w m k n : momentum_steps beta mu eta w m -> In k units ->
  deficit (squares (w (S n))) k = deficit (squares (w n)) k - 2 * eta * crossed w m k (S n)
    + eta ^ 2 * deficit (squares (m (S n))) k /\
  crossed w m k (S n) = beta * (crossed w m k n - eta * deficit (squares (m n)) k)
    + mu * deficit (squares (w n)) k.
Proof.
  intros [H0 Hs] Hk. destruct (Hs n) as (g & Hg & H). pose proof (no_gradient _ _ k Hg Hk) as I0.
  split.
  - unfold crossed, Gradient.deficit, squares. rewrite <- !sum_scal, <- sum_minus, <- sum_plus. apply sum_ext.
    intros e He. destruct (H e He) as [_ ->]. ring.
  - assert (C : crossed w m k n - eta * deficit (squares (m n)) k = deficit (fun e => w n e * m n e) k).
    { destruct n as [|n]; unfold crossed, Gradient.deficit, squares.
      - rewrite !sum_zero; [ring| |]; intros e He; rewrite H0 by exact He; ring.
      - rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros e He.
        destruct (Hs n) as (g' & _ & H'). destruct (H' e He) as [_ ->]. ring. }
    rewrite C. unfold crossed, Gradient.deficit, squares in *.
    rewrite (sum_ext edges _ (fun e => beta * (A e k * (w n e * m n e))
      + (A e k * (w n e * g e) + mu * (A e k * (w n e * w n e))))).
    + rewrite !sum_plus, !sum_scal, I0. ring.
    + intros e He. destruct (H e He) as [-> _]. ring.
Qed.

(** ** In continuous time *)

(** d^2w/dt^2 + gamma dw/dt = - grad E - mu w between times a and b, with velocity v. *)
Definition inertial_flow (gamma mu a b : R) (w v : R -> E -> R) : Prop :=
  forall t, a < t < b -> exists g, has_gradient edges Err (w t) g /\ forall e, In e edges ->
    is_derive (fun s => w s e) t (v t e) /\
    is_derive (fun s => v s e) t (- gamma * v t e - g e - mu * w t e).

(** [R.broken] (4): z has the derivative 2 A^T (w v), and that one the derivative
    - gamma dz/dt + 2 A^T v^2 - 2 mu z. *)
Theorem inertial_law gamma mu a b w v k t : inertial_flow gamma mu a b w v -> In k units -> a < t < b ->
  let speed := fun s => 2 * deficit (fun e => w s e * v s e) k in
  is_derive (fun s => deficit (squares (w s)) k) t (speed t) /\
  is_derive speed t
    (- gamma * speed t + 2 * deficit (squares (v t)) k - 2 * mu * deficit (squares (w t)) k).
Proof.
  intros Hf Hk Ht speed. destruct (Hf t Ht) as (g & Hg & H). pose proof (no_gradient _ _ k Hg Hk) as I0. split.
  - unfold speed, Gradient.deficit. rewrite <- sum_scal.
    apply (sum_derive edges (fun e s => A e k * squares (w s) e)). intros e He. destruct (H e He) as [Dw _].
    unfold squares. evar_last.
    + apply (is_derive_scal (fun s => w s e * w s e)).
      apply (is_derive_mult (fun s => w s e) (fun s => w s e)); [exact Dw|exact Dw|intros; apply Rmult_comm].
    + unfold plus, mult; simpl. ring.
  - unfold speed. evar_last.
    + apply (is_derive_scal (fun s => deficit (fun e => w s e * v s e) k)).
      apply (sum_derive edges (fun e s => A e k * (w s e * v s e))
        (fun e => A e k * (v t e * v t e + w t e * (- gamma * v t e - g e - mu * w t e)))).
      intros e He. destruct (H e He) as [Dw Dv]. apply (is_derive_scal (fun s => w s e * v s e)).
      apply (is_derive_mult (fun s => w s e) (fun s => v s e)); [exact Dw|exact Dv|intros; apply Rmult_comm].
    + unfold Gradient.deficit, squares in *.
      rewrite (sum_ext edges _ (fun e => A e k * (v t e * v t e) + (- gamma * (A e k * (w t e * v t e))
        + ((-1) * (A e k * (w t e * g e)) + - mu * (A e k * (w t e * w t e)))))) by (intros; ring).
      rewrite !sum_plus, !sum_scal, I0. ring.
Qed.

End Momentum.

(** [R.broken] (4), what stays: for an antisymmetric M, exp(gamma t) <v, M w> changes at the rate
    - exp(gamma t) <g, M w>. So it stays where <g, M w> = 0, as it does if M generates a symmetry of the
    error. Nothing is assumed of the error. *)
Section Angular.
Context {E : Type}.
Variables (edges : list E) (Err : (E -> R) -> R) (M : E -> E -> R).
Hypothesis antisymmetric : forall d e, M d e = - M e d.

Definition paired (x y : E -> R) : R := Σ e ∈ edges, Σ d ∈ edges, x e * (M e d * y d).

Lemma paired_swap x y : paired x y = - paired y x.
Proof.
  unfold paired. rewrite sum_swap, <- sum_opp. apply sum_ext. intros d _. rewrite <- sum_opp.
  apply sum_ext. intros e _. rewrite (antisymmetric d e). ring.
Qed.

Lemma paired_self x : paired x x = 0.
Proof. pose proof (paired_swap x x). lra. Qed.

Theorem angular_speed gamma a b w v g t : a < t < b ->
  (forall e, In e edges -> is_derive (fun s => w s e) t (v t e) /\
    is_derive (fun s => v s e) t (- gamma * v t e - g e)) ->
  is_derive (fun s => exp (gamma * s) * paired (v s) (w s)) t (- exp (gamma * t) * paired g (w t)).
Proof.
  intros Ht H. evar_last.
  - apply (is_derive_mult (fun s => exp (gamma * s)) (fun s => paired (v s) (w s)));
      [auto_derive; [exact I|reflexivity]| |intros; apply Rmult_comm].
    apply (sum_derive edges (fun e s => Σ d ∈ edges, v s e * (M e d * w s d))
      (fun e => Σ d ∈ edges, ((- gamma * v t e - g e) * (M e d * w t d) + v t e * (M e d * v t d)))).
    intros e He. apply (sum_derive edges (fun d s => v s e * (M e d * w s d))). intros d Hd. evar_last.
    + apply (is_derive_mult (fun s => v s e) (fun s => M e d * w s d));
        [exact (proj2 (H e He))|apply (is_derive_scal (fun s => w s d)), (proj1 (H d Hd))|intros; apply Rmult_comm].
    + reflexivity.
  - assert (X : (Σ e ∈ edges, Σ d ∈ edges, ((- gamma * v t e - g e) * (M e d * w t d) + v t e * (M e d * v t d)))
      = - gamma * paired (v t) (w t) - paired g (w t) + paired (v t) (v t)).
    { unfold paired. rewrite <- sum_scal, <- sum_minus, <- sum_plus. apply sum_ext. intros e _.
      rewrite <- sum_scal, <- sum_minus, <- sum_plus. apply sum_ext. intros d _. ring. }
    rewrite X, paired_self. unfold plus, mult; simpl. ring.
Qed.

(** With weight decay too: <w, M w> = 0. *)
Theorem angular_conserved gamma mu a b w v : inertial_flow edges Err gamma mu a b w v ->
  (forall t, a < t < b -> forall g, has_gradient edges Err (w t) g -> paired g (w t) = 0) ->
  forall s t, a < s < b -> a < t < b ->
  exp (gamma * t) * paired (v t) (w t) = exp (gamma * s) * paired (v s) (w s).
Proof.
  intros Hf Hz s t Hs Ht.
  apply (constant_between (fun s => exp (gamma * s) * paired (v s) (w s)) a b); [|exact Hs|exact Ht].
  intros r Hr. destruct (Hf r Hr) as (g & Hg & H). evar_last.
  - apply (angular_speed gamma a b w v (fun e => g e + mu * w r e) r Hr). intros e He.
    destruct (H e He) as [Dw Dv]. split; [exact Dw|]. evar_last; [exact Dv|ring].
  - assert (X : paired (fun e => g e + mu * w r e) (w r) = paired g (w r) + mu * paired (w r) (w r)).
    { unfold paired. rewrite <- sum_scal, <- sum_plus. apply sum_ext. intros e _.
      rewrite <- sum_scal, <- sum_plus. apply sum_ext. intros d _. ring. }
    rewrite X, paired_self, (Hz r Hr g Hg). ring.
Qed.

End Angular.
