(** * Where descent on error plus regularizer ends

    Claim [B.gd-regularized-balances]: critical points, also in the sense of Clarke, limits of descent and of
    the flow, and stationary minibatch steps. The error is invariant under rescaling, as in [Gradient]; the
    regularizer is any function. *)

From Coq Require Import FunctionalExtensionality.
From Balproof Require Import Sums Balance Gradient.

(** A function that tends to a limit, with a derivative that tends to one, has 0 for the latter. *)
Lemma derivative_limit_zero (f df : R -> R) (a x l : R) : (forall t, a < t -> is_derive f t (df t)) ->
  filterlim f (Rbar_locally p_infty) (locally x) -> filterlim df (Rbar_locally p_infty) (locally l) -> l = 0.
Proof.
  intros D Hf Hd. destruct (Req_dec l 0) as [|N]; [assumption|exfalso].
  pose proof (Rabs_pos_lt l N) as Hl.
  pose proof (proj1 (filterlim_eps f x (Rbar_locally p_infty) _) Hf) as Ef.
  pose proof (proj1 (filterlim_eps df l (Rbar_locally p_infty) _) Hd) as Ed.
  destruct (Ef (Rabs l / 4) ltac:(lra)) as [T1 H1]. destruct (Ed (Rabs l / 4) ltac:(lra)) as [T2 H2].
  set (t := Rmax a (Rmax T1 T2) + 1).
  assert (B : a < t /\ T1 < t /\ T2 < t).
  { unfold t. pose proof (Rmax_l a (Rmax T1 T2)). pose proof (Rmax_r a (Rmax T1 T2)).
    pose proof (Rmax_l T1 T2). pose proof (Rmax_r T1 T2). lra. }
  destruct (MVT_gen f t (t + 1) df) as (c & Hc & M).
  - intros y Hy. rewrite Rmin_left in Hy by lra. apply D. lra.
  - intros y Hy. rewrite Rmin_left in Hy by lra. apply continuity_pt_filterlim, (ex_derive_continuous f).
    exists (df y). apply D. lra.
  - rewrite Rmin_left, Rmax_right in Hc by lra.
    pose proof (H1 t ltac:(lra)) as Q1. pose proof (H1 (t + 1) ltac:(lra)) as Q2. pose proof (H2 c ltac:(lra)) as Q3.
    apply Rabs_def2 in Q1. apply Rabs_def2 in Q2. apply Rabs_def2 in Q3.
    destruct (Rcase_abs l); [rewrite Rabs_left in * by lra|rewrite Rabs_pos_eq in * by lra]; lra.
Qed.

Section Critical.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (Err Reg : (E -> R) -> R).
Hypothesis inv : invariant units A Err.

Notation gradient := (has_gradient edges).
Notation deficit := (deficit edges A).

(** ** Critical points *)

(** [B.gd-regularized-balances]: where the gradients of E and R add up to 0, A^T (w * grad R) = 0. *)
Theorem critical_balanced_any w g r : gradient Err w g -> gradient Reg w r ->
  (forall e, In e edges -> g e + r e = 0) -> forall k, In k units -> deficit (fun e => w e * r e) k = 0.
Proof.
  intros Hg _ Hc k Hk. pose proof (gradient_identity edges units A Err w g inv Hg k Hk) as I0.
  unfold Gradient.deficit in *. rewrite (sum_ext edges _ (fun e => (- 1) * (A e k * (w e * g e)))).
  - rewrite sum_scal, I0. ring.
  - intros e He. replace (r e) with (- g e) by (specialize (Hc e He); lra). ring.
Qed.

(** Clarke's subdifferential: the convex hull of the limits of gradients at points that tend to w. *)
Inductive clarke (F : (E -> R) -> R) (w : E -> R) : (E -> R) -> Prop :=
  | clarke_limit (v g : nat -> E -> R) (x : E -> R) :
      (forall n, gradient F (v n) (g n)) ->
      (forall e, In e edges -> is_lim_seq (fun n => v n e) (w e)) ->
      (forall e, In e edges -> is_lim_seq (fun n => g n e) (x e)) -> clarke F w x
  | clarke_mix (s : R) (x y : E -> R) : 0 <= s <= 1 ->
      clarke F w x -> clarke F w y -> clarke F w (fun e => (1 - s) * x e + s * y e).

(** The gradient identity passes to limits and mixtures. *)
Theorem clarke_identity w x : clarke Err w x -> forall k, In k units -> deficit (fun e => w e * x e) k = 0.
Proof.
  intros H k Hk. induction H as [v g x Hg Hv Hx|s x y Hs _ IHx _ IHy].
  - assert (L : is_lim_seq (fun n => deficit (fun e => v n e * g n e) k) (deficit (fun e => w e * x e) k)).
    { apply (sum_lim edges (fun n e => A e k * (v n e * g n e))). intros e He.
      apply (is_lim_seq_scal_l _ (A e k) (w e * x e)). apply is_lim_seq_mult'; [apply Hv|apply Hx]; exact He. }
    assert (Z : is_lim_seq (fun n => deficit (fun e => v n e * g n e) k) 0).
    { apply is_lim_seq_ext with (fun _ => 0); [|apply is_lim_seq_const]. intros n. symmetry.
      apply (gradient_identity edges units A Err (v n) (g n) inv (Hg n) k Hk). }
    apply is_lim_seq_unique in L. apply is_lim_seq_unique in Z. rewrite L in Z. injection Z. auto.
  - unfold Gradient.deficit in *.
    rewrite (sum_ext edges _ (fun e => (1 - s) * (A e k * (w e * x e)) + s * (A e k * (w e * y e)))) by (intros; ring).
    rewrite sum_plus, !sum_scal, IHx, IHy. ring.
Qed.

(** [B.gd-regularized-balances], with kinks: if 0 is the sum of subgradients x of E and r of R at w, then
    A^T (w * r) = 0. *)
Theorem clarke_critical_balanced w x r : clarke Err w x -> clarke Reg w r ->
  (forall e, In e edges -> x e + r e = 0) -> forall k, In k units -> deficit (fun e => w e * r e) k = 0.
Proof.
  intros Hx _ Hc k Hk. pose proof (clarke_identity w x Hx k Hk) as I0. unfold Gradient.deficit in *.
  rewrite (sum_ext edges _ (fun e => (- 1) * (A e k * (w e * x e)))).
  - rewrite sum_scal, I0. ring.
  - intros e He. replace (r e) with (- x e) by (specialize (Hc e He); lra). ring.
Qed.

(** ** Limits *)

(** F is differentiable near x, with a gradient G that is continuous at x. *)
Definition smooth_near (F : (E -> R) -> R) (G : (E -> R) -> E -> R) (x : E -> R) : Prop :=
  (exists d, 0 < d /\ forall v, (forall e, In e edges -> Rabs (v e - x e) < d) -> gradient F v (G v)) /\
  forall eps, 0 < eps -> exists d, 0 < d /\ forall v, (forall e, In e edges -> Rabs (v e - x e) < d) ->
    forall e, In e edges -> Rabs (G v e - G x e) < eps.

Lemma smooth_gradient F G x : smooth_near F G x -> gradient F x (G x).
Proof. intros [(d & Hd & H) _]. apply H. intros e _. rewrite Rminus_eq_0, Rabs_R0. exact Hd. Qed.

Lemma smooth_limit {S : Type} F G x (w : S -> E -> R) (Fl : (S -> Prop) -> Prop) : Filter Fl ->
  smooth_near F G x -> (forall e, In e edges -> filterlim (fun s => w s e) Fl (locally (x e))) ->
  forall e, In e edges -> filterlim (fun s => G (w s) e) Fl (locally (G x e)).
Proof.
  intros FF [_ Hs] Hw e He. apply filterlim_eps; [exact FF|]. intros eps Heps.
  destruct (Hs eps Heps) as (d & Hd & H).
  assert (X : Fl (fun s => forall e, In e edges -> Rabs (w s e - x e) < d)).
  { apply (list_filter edges (fun e s => Rabs (w s e - x e) < d) Fl FF). intros e' He'.
    apply (filterlim_eps (fun s => w s e') (x e') Fl FF); [apply Hw, He'|exact Hd]. }
  revert X. apply filter_imp. intros s Hv. apply H; assumption.
Qed.

(** 0 is a subgradient of E + R itself, with kinks of E and a smooth R: then w is balanced. (Where both have
    kinks, subgradients of the sum are sums of subgradients by Clarke's rule, see above.) *)
Theorem clarke_sum_balanced Q w x : smooth_near Reg Q w -> clarke (fun v => Err v + Reg v) w x ->
  (forall e, In e edges -> x e = 0) -> forall k, In k units -> deficit (fun e => w e * Q w e) k = 0.
Proof.
  intros HQ Hx H0 k Hk.
  assert (I0 : deficit (fun e => w e * (x e - Q w e)) k = 0).
  { clear H0. induction Hx as [v g x Hg Hv Hx|s x y Hs _ IHx _ IHy].
    - assert (L : is_lim_seq (fun n => deficit (fun e => v n e * (g n e - Q (v n) e)) k)
        (deficit (fun e => w e * (x e - Q w e)) k)).
      { apply (sum_lim edges (fun n e => A e k * (v n e * (g n e - Q (v n) e)))). intros e He.
        apply (is_lim_seq_scal_l _ (A e k) (w e * (x e - Q w e))).
        apply is_lim_seq_mult'; [apply Hv, He|]. apply is_lim_seq_minus'; [apply Hx, He|].
        apply (smooth_limit Reg Q w v eventually _); assumption. }
      assert (Z : is_lim_seq (fun n => deficit (fun e => v n e * (g n e - Q (v n) e)) k) 0).
      { destruct HQ as [(d & Hd & HQ) _].
        apply is_lim_seq_ext_loc with (fun _ => 0); [|apply is_lim_seq_const].
        assert (X : eventually (fun n => forall e, In e edges -> Rabs (v n e - w e) < d)).
        { apply list_eventually. intros e He. specialize (Hv e He). apply is_lim_seq_spec in Hv.
          exact (Hv (mkposreal d Hd)). }
        destruct X as [N X]. exists N. intros n Hn. symmetry.
        apply (gradient_identity edges units A Err (v n) (fun e => g n e - Q (v n) e) inv); [|exact Hk].
        intros eps Heps. destruct (Hg n (eps / 2) ltac:(lra)) as (d1 & Hd1 & H1).
        destruct (HQ (v n) (X n Hn) (eps / 2) ltac:(lra)) as (d2 & Hd2 & H2).
        exists (Rmin d1 d2). split; [apply Rmin_pos; assumption|]. intros u Hu.
        assert (U1 : forall e, In e edges -> Rabs (u e - v n e) < d1)
          by (intros e He; eapply Rlt_le_trans; [apply Hu, He|apply Rmin_l]).
        assert (U2 : forall e, In e edges -> Rabs (u e - v n e) < d2)
          by (intros e He; eapply Rlt_le_trans; [apply Hu, He|apply Rmin_r]).
        specialize (H1 u U1). specialize (H2 u U2).
        rewrite (sum_ext edges _ (fun e => g n e * (u e - v n e) - Q (v n) e * (u e - v n e))) by (intros; ring).
        rewrite sum_minus.
        set (S1 := Σ e ∈ edges, g n e * (u e - v n e)) in *. set (S2 := Σ e ∈ edges, Q (v n) e * (u e - v n e)) in *.
        replace (Err u - Err (v n) - (S1 - S2)) with
          ((Err u + Reg u - (Err (v n) + Reg (v n)) - S1) + - (Reg u - Reg (v n) - S2)) by ring.
        eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
      apply is_lim_seq_unique in L. apply is_lim_seq_unique in Z. rewrite L in Z. injection Z. auto.
    - unfold Gradient.deficit in *.
      rewrite (sum_ext edges _ (fun e => (1 - s) * (A e k * (w e * (x e - Q w e)))
        + s * (A e k * (w e * (y e - Q w e))))) by (intros; ring).
      rewrite sum_plus, !sum_scal, IHx, IHy. ring. }
  unfold Gradient.deficit in *. rewrite (sum_ext edges _ (fun e => (- 1) * (A e k * (w e * (x e - Q w e))))).
  - rewrite sum_scal, I0. ring.
  - intros e He. rewrite (H0 e He). ring.
Qed.

(** [B.gd-regularized-balances]: if steps of full gradient descent, of sizes that stay away from 0, converge
    to a point near which E and R are continuously differentiable, that point is balanced. *)
Theorem descent_limit_balanced G Q x (w : nat -> E -> R) (eta : nat -> R) c :
  smooth_near Err G x -> smooth_near Reg Q x -> 0 < c -> (forall n, c <= eta n) ->
  (forall n e, In e edges -> w (S n) e = w n e - eta n * (G (w n) e + Q (w n) e)) ->
  (forall e, In e edges -> is_lim_seq (fun n => w n e) (x e)) ->
  forall k, In k units -> deficit (fun e => x e * Q x e) k = 0.
Proof.
  intros HG HQ Hc Heta Hw Hx. apply (critical_balanced_any x (G x) (Q x)); try (apply smooth_gradient; assumption).
  intros e He.
  assert (L : is_lim_seq (fun n => G (w n) e + Q (w n) e) (G x e + Q x e)).
  { apply is_lim_seq_plus'; [apply (smooth_limit Err G x w eventually _)|apply (smooth_limit Reg Q x w eventually _)];
      assumption. }
  assert (Z : is_lim_seq (fun n => G (w n) e + Q (w n) e) 0).
  { assert (D : is_lim_seq (fun n => / c * Rabs (w n e - w (S n) e)) 0).
    { replace (Finite 0) with (Finite (/ c * 0)) by (f_equal; ring).
      apply (is_lim_seq_scal_l _ (/ c) 0). apply -> is_lim_seq_abs_0.
      replace (Finite 0) with (Finite (x e - x e)) by (f_equal; ring).
      apply is_lim_seq_minus'; [apply Hx, He|apply (is_lim_seq_incr_1 (fun n => w n e)), Hx, He]. }
    apply is_lim_seq_abs_0. eapply is_lim_seq_le_le; [|apply is_lim_seq_const|exact D].
    intros n. split; [apply Rabs_pos|]. rewrite (Hw n e He).
    replace (w n e - (w n e - eta n * (G (w n) e + Q (w n) e))) with (eta n * (G (w n) e + Q (w n) e)) by ring.
    rewrite Rabs_mult, (Rabs_pos_eq (eta n)) by (specialize (Heta n); lra).
    pose proof (Rabs_pos (G (w n) e + Q (w n) e)). specialize (Heta n).
    apply Rmult_le_reg_l with c; [exact Hc|]. rewrite <- Rmult_assoc, Rinv_r, Rmult_1_l by lra.
    apply Rmult_le_compat_r; assumption. }
  apply is_lim_seq_unique in L. apply is_lim_seq_unique in Z. rewrite L in Z. injection Z. auto.
Qed.

(** [B.gd-regularized-balances]: and so is the limit of a flow dw/dt = - grad E - grad R. *)
Theorem flow_limit_balanced G Q x (w : R -> E -> R) a : smooth_near Err G x -> smooth_near Reg Q x ->
  (forall t e, a < t -> In e edges -> is_derive (fun s => w s e) t (- G (w t) e - Q (w t) e)) ->
  (forall e, In e edges -> is_lim (fun t => w t e) p_infty (x e)) ->
  forall k, In k units -> deficit (fun e => x e * Q x e) k = 0.
Proof.
  intros HG HQ Hw Hx. apply (critical_balanced_any x (G x) (Q x)); try (apply smooth_gradient; assumption).
  intros e He.
  assert (L : forall F H, smooth_near F H x ->
    filterlim (fun t => H (w t) e) (Rbar_locally p_infty) (locally (H x e))).
  { intros F H HF. apply (smooth_limit F H x w (Rbar_locally p_infty) _ HF); [|exact He]. intros e' He'. apply Hx, He'. }
  assert (Z : - G x e + - Q x e = 0); [|lra].
  apply (derivative_limit_zero (fun t => w t e) (fun t => - G (w t) e + - Q (w t) e) a (x e)).
  - intros t Ht. apply (Hw t e Ht He).
  - apply Hx, He.
  - eapply (filterlim_comp_2 (fun t => - G (w t) e) (fun t => - Q (w t) e) Rplus).
    + eapply filterlim_comp; [apply (L Err G HG)|]. apply (filterlim_opp (G x e)).
    + eapply filterlim_comp; [apply (L Reg Q HQ)|]. apply (filterlim_opp (Q x e)).
    + apply (filterlim_plus (- G x e) (- Q x e)).
Qed.

End Critical.

(** ** Minibatches

    Each outcome o of chance (a state and a minibatch) has weights w o and an error Errs o with gradient g o.
    A mean is linear on the functions that have one. *)

Section Minibatch.
Context {E U Omega : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R).
Variables (Errs : Omega -> (E -> R) -> R) (w g : Omega -> E -> R) (eta mu : R).
Hypothesis inv : forall o, invariant units A (Errs o).
Hypothesis gradients : forall o, has_gradient edges (Errs o) (w o) (g o).

Definition stepped (o : Omega) (e : E) : R := w o e - eta * (g o e + mu * w o e).

(** [B.gd-regularized-balances]: the law of a step holds on every minibatch, *)
Theorem minibatch_step o k : In k units ->
  deficit edges A (squares (stepped o)) k
  = (1 - eta * mu) ^ 2 * deficit edges A (squares (w o)) k + eta ^ 2 * deficit edges A (squares (g o)) k.
Proof. apply (deficit_after_step edges units A (Errs o) mu eta (w o) (g o) (inv o) (gradients o)). Qed.

Variables (has_mean : (Omega -> R) -> Prop) (mean : (Omega -> R) -> R).
Definition linear_mean : Prop := forall a f b h, has_mean f -> has_mean h ->
  has_mean (fun o => a * f o + b * h o) /\ mean (fun o => a * f o + b * h o) = a * mean f + b * mean h.

(** so where the steps are stationary, and leave the mean deficit as it is, that mean is
    eta / (2 mu - eta mu^2) times the mean of A^T g^2. *)
Theorem stationary_deficit k : linear_mean -> In k units -> eta <> 0 -> 2 * mu - eta * mu ^ 2 <> 0 ->
  has_mean (fun o => deficit edges A (squares (w o)) k) -> has_mean (fun o => deficit edges A (squares (g o)) k) ->
  mean (fun o => deficit edges A (squares (stepped o)) k) = mean (fun o => deficit edges A (squares (w o)) k) ->
  mean (fun o => deficit edges A (squares (w o)) k)
  = eta / (2 * mu - eta * mu ^ 2) * mean (fun o => deficit edges A (squares (g o)) k).
Proof.
  intros Hlin Hk Heta Hmu Mw Mg Hst.
  destruct (Hlin ((1 - eta * mu) ^ 2) _ (eta ^ 2) _ Mw Mg) as [_ L].
  assert (X : (fun o => deficit edges A (squares (stepped o)) k)
    = (fun o => (1 - eta * mu) ^ 2 * deficit edges A (squares (w o)) k + eta ^ 2 * deficit edges A (squares (g o)) k))
    by (apply functional_extensionality; intros o; apply minibatch_step, Hk).
  rewrite X, L in Hst.
  set (m := mean (fun o => deficit edges A (squares (w o)) k)) in *.
  set (q := mean (fun o => deficit edges A (squares (g o)) k)) in *.
  apply Rmult_eq_reg_l with (eta * (2 * mu - eta * mu ^ 2));
    [|apply Rmult_integral_contrapositive_currified; assumption].
  transitivity (eta ^ 2 * q); [|field; exact Hmu].
  transitivity (m - (1 - eta * mu) ^ 2 * m); [ring|]. lra.
Qed.

End Minibatch.
