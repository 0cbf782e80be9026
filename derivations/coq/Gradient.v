(** * Gradients, gradient flow, and steps

    Claims [B.gradient-identity], [R.noether], [B.gd-does-not-balance], [B.gd-regularized-balances],
    [B.progress], [R.broken] (weight decay). *)

From Coq Require Import FunctionalExtensionality.
From Balproof Require Import Sums Homogeneous Rescaling Balance.

Section Gradient.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R).

(** The error as a function of the weights; [g] is its gradient at [w] (in the sense of Frechet). *)
Definition has_gradient (Err : (E -> R) -> R) (w g : E -> R) : Prop :=
  forall eps, 0 < eps -> exists d, 0 < d /\ forall v,
    (forall e, In e edges -> Rabs (v e - w e) < d) ->
    Rabs (Err v - Err w - Σ e ∈ edges, g e * (v e - w e)) <= eps * Σ e ∈ edges, Rabs (v e - w e).

(** The chain rule along a curve of weights. *)
Lemma chain_rule Err (w : R -> E -> R) (t : R) (g dw : E -> R) :
  has_gradient Err (w t) g -> (forall e, In e edges -> is_derive (fun s => w s e) t (dw e)) ->
  is_derive (fun s => Err (w s)) t (Σ e ∈ edges, g e * dw e).
Proof.
  intros Hg Hw.
  (* the curve moves at most in proportion to time *)
  assert (Lip : exists K, 0 < K /\ exists d, 0 < d /\ forall s, Rabs s < d ->
    forall e, In e edges -> Rabs (w (t + s) e - w t e) <= K * Rabs s).
  { destruct (list_bound edges (fun e m => Rabs (dw e) <= m)) as (m & Hm & Hmb).
    { intros; lra. } { intros e _. eexists; apply Rle_refl. }
    exists (m + 1). split; [lra|].
    destruct (list_small edges (fun e d => forall s, Rabs s < d ->
      Rabs (w (t + s) e - w t e) <= (m + 1) * Rabs s)) as (d & Hd & H).
    { intros e d d' H Hd s Hs. apply H; lra. }
    { intros e He. pose proof (Hw e He) as D. apply is_derive_Reals in D.
      destruct (D 1 Rlt_0_1) as [[d Hd] H]. exists d. split; [exact Hd|]. intros s Hs.
      destruct (Req_dec s 0) as [->|Hs0].
      - rewrite Rplus_0_r, Rminus_eq_0, !Rabs_R0. lra.
      - specialize (H s Hs0 Hs).
        replace (w (t + s) e - w t e) with (((w (t + s) e - w t e) / s - dw e + dw e) * s) by (field; exact Hs0).
        rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|].
        eapply Rle_trans; [apply Rabs_triang|]. specialize (Hmb e He). lra. }
    exists d. split; [exact Hd|]. intros s Hs e He. apply H; assumption. }
  destruct Lip as (K & HK & d0 & Hd0 & HLip).
  apply is_derive_Reals. intros eps Heps.
  assert (Dsum : derivable_pt_lim (fun s => Σ e ∈ edges, g e * w s e) t (Σ e ∈ edges, g e * dw e)).
  { apply is_derive_Reals. apply (sum_derive edges (fun e s => g e * w s e)).
    intros e He. apply is_derive_scal, Hw, He. }
  destruct (Dsum (eps / 2) ltac:(lra)) as [[d1 Hd1] H1].
  set (n := INR (length edges)). assert (Hn : 0 <= n) by apply pos_INR.
  assert (HnK : 0 <= n * K) by (apply Rmult_le_pos; lra).
  set (eta := eps / 2 / (n * K + 1)).
  assert (Heta : 0 < eta) by (unfold eta; apply Rdiv_lt_0_compat; lra).
  destruct (Hg eta Heta) as (d2 & Hd2 & H2).
  assert (Hd : 0 < Rmin (Rmin d0 d1) (d2 / K)).
  { repeat apply Rmin_pos; auto. apply Rdiv_lt_0_compat; assumption. }
  exists (mkposreal _ Hd). simpl. intros s Hs0 Hs.
  assert (Hs3 : Rabs s < d0 /\ Rabs s < d1 /\ Rabs s < d2 / K).
  { pose proof (Rmin_l (Rmin d0 d1) (d2 / K)). pose proof (Rmin_r (Rmin d0 d1) (d2 / K)).
    pose proof (Rmin_l d0 d1). pose proof (Rmin_r d0 d1). lra. }
  destruct Hs3 as (Hsa & Hsb & Hsc).
  specialize (H1 s Hs0 Hsb).
  assert (Hv : forall e, In e edges -> Rabs (w (t + s) e - w t e) < d2).
  { intros e He. eapply Rle_lt_trans; [apply HLip; assumption|].
    apply Rmult_lt_compat_l with (r := K) in Hsc; [|exact HK].
    replace (K * (d2 / K)) with d2 in Hsc by (field; lra). exact Hsc. }
  specialize (H2 (w (t + s)) Hv).
  assert (Habs : 0 < Rabs s) by (apply Rabs_pos_lt; exact Hs0).
  assert (H3 : eta * (Σ e ∈ edges, Rabs (w (t + s) e - w t e)) <= eps / 2 * Rabs s - eta * Rabs s).
  { apply Rle_trans with (eta * (n * (K * Rabs s))).
    - apply Rmult_le_compat_l; [lra|]. unfold n. rewrite <- sum_const. apply sum_le.
      intros e He. apply HLip; assumption.
    - apply Req_le. unfold eta. field. lra. }
  set (X := Err (w (t + s)) - Err (w t)) in *.
  set (Y := Σ e ∈ edges, g e * (w (t + s) e - w t e)) in *.
  assert (HY : (Σ e ∈ edges, g e * w (t + s) e) - (Σ e ∈ edges, g e * w t e) = Y).
  { unfold Y. rewrite <- sum_minus. apply sum_ext. intros; ring. }
  rewrite HY in H1. set (G := Σ e ∈ edges, g e * dw e) in *.
  replace (X / s - G) with ((X - Y) / s + (Y / s - G)) by (field; exact Hs0).
  eapply Rle_lt_trans; [apply Rabs_triang|].
  assert (Rabs ((X - Y) / s) < eps / 2); [|lra].
  unfold Rdiv. rewrite Rabs_mult, Rabs_inv.
  apply Rmult_lt_reg_r with (Rabs s); [exact Habs|].
  rewrite Rmult_assoc, Rinv_l by lra. rewrite Rmult_1_r.
  assert (0 < eta * Rabs s) by (apply Rmult_lt_0_compat; assumption). lra.
Qed.

(** ** The gradient identity *)

(** Rescaling the weights by exp (A h). *)
Definition act (h : U -> R) (w : E -> R) (e : E) : R := w e * exp (log_scale units A h e).

(** The error does not change under rescaling. *)
Definition invariant (Err : (E -> R) -> R) : Prop := forall h w, Err (act h w) = Err w.

(** What comes in less what goes out, of any quantity [m] that weights have: (A^T m)_k. *)
Definition deficit (m : E -> R) (k : U) : R := Σ e ∈ edges, A e k * m e.

(** [B.gradient-identity]: A^T (w * grad E) = 0, at every point, balanced or not. For a unit of degree c
    this says: the sum of w dE/dw over incoming weights is c times the sum over outgoing ones. *)
Theorem gradient_identity Err w g :
  invariant Err -> has_gradient Err w g ->
  forall k, In k units -> deficit (fun e => w e * g e) k = 0.
Proof.
  intros Hinv Hg.
  (* along the direction of the deficit itself, the derivative is its square *)
  set (D := deficit (fun e => w e * g e)).
  assert (Hder : is_derive (fun s => Err (act (fun k => s * D k) w)) 0
    (Σ e ∈ edges, g e * (w e * log_scale units A D e))).
  { apply (chain_rule Err (fun s => act (fun k => s * D k) w) 0 g).
    - intros eps Heps. destruct (Hg eps Heps) as (d & Hd & H).
      exists d. split; [exact Hd|]. intros v Hv.
      assert (E0 : forall e, act (fun k => 0 * D k) w e = w e).
      { intros e. unfold act, log_scale. rewrite sum_zero by (intros; ring). rewrite exp_0. ring. }
      rewrite (Hinv (fun k => 0 * D k) w).
      rewrite (sum_ext edges _ (fun e => g e * (v e - w e))) by (intros; rewrite E0; reflexivity).
      rewrite (sum_ext edges (fun e => Rabs (v e - act (fun k => 0 * D k) w e)) (fun e => Rabs (v e - w e)))
        by (intros; rewrite E0; reflexivity).
      apply H. intros e He. rewrite <- (E0 e). apply Hv, He.
    - intros e He. unfold act.
      apply is_derive_ext with (fun s => w e * exp (s * log_scale units A D e)).
      { intros s. do 2 f_equal. unfold log_scale. rewrite <- sum_scal. apply sum_ext. intros; ring. }
      auto_derive; [exact I|]. rewrite Rmult_0_l, exp_0. ring. }
  assert (Hconst : is_derive (fun s => Err (act (fun k => s * D k) w)) 0 0).
  { apply is_derive_ext with (fun _ => Err w); [intros s; symmetry; apply Hinv|apply @is_derive_const]. }
  pose proof (is_derive_unique _ _ _ Hder) as X. rewrite (is_derive_unique _ _ _ Hconst) in X.
  rewrite (sum_ext edges _ (fun e => w e * g e * log_scale units A D e)) in X by (intros; ring).
  rewrite adjoint in X. fold (deficit (fun e => w e * g e)) in X.
  intros k Hk.
  assert (Z : D k * D k = 0).
  { apply (sum_eq_zero units (fun k => D k * D k)); auto; [intros; apply Rle_0_sqr|].
    unfold D at 1, deficit at 1. lra. }
  destruct (Rmult_integral _ _ Z); assumption.
Qed.

(** ** Gradient flow and gradient descent *)

(** Weights that follow dw/dt = - grad E - mu w from time a to time b; mu = 0 is plain gradient flow. *)
Definition flow (Err : (E -> R) -> R) (mu a b : R) (w : R -> E -> R) : Prop :=
  forall t, a < t < b -> exists g, has_gradient Err (w t) g /\
    forall e, In e edges -> is_derive (fun s => w s e) t (- g e - mu * w t e).

Lemma constant_between (f : R -> R) (a b s t : R) :
  (forall x, a < x < b -> is_derive f x 0) -> a < s < b -> a < t < b -> f t = f s.
Proof.
  intros D Hs Ht.
  assert (I : forall x, Rmin s t <= x <= Rmax s t -> a < x < b).
  { intros x. unfold Rmin, Rmax. destruct (Rle_dec s t); lra. }
  destruct (MVT_gen f s t (fun _ => 0)) as (c & _ & H).
  - intros x Hx. apply D, I. lra.
  - intros x Hx. apply continuity_pt_filterlim, (ex_derive_continuous f). exists 0. apply D, I, Hx.
  - lra.
Qed.

Definition squares (w : E -> R) (e : E) : R := w e * w e.

(** [B.gd-regularized-balances], [B.progress]: with weight decay the deficit of squared weights decays at
    the rate 2 mu, whatever the error does. *)
Theorem deficit_decays Err mu a b w :
  invariant Err -> flow Err mu a b w -> forall k, In k units -> forall s t, a < s < b -> a < t < b ->
  deficit (squares (w t)) k = deficit (squares (w s)) k * exp (- 2 * mu * (t - s)).
Proof.
  intros Hinv Hflow k Hk s0 t0 Hs0 Ht0.
  assert (D : forall t, a < t < b -> is_derive (fun s => deficit (squares (w s)) k) t (- 2 * mu * deficit (squares (w t)) k)).
  { intros t Ht. destruct (Hflow t Ht) as (g & Hg & Hw).
    replace (- 2 * mu * deficit (squares (w t)) k)
      with (Σ e ∈ edges, A e k * (2 * (w t e) * (- g e - mu * w t e))).
    - unfold deficit, squares. apply (sum_derive edges (fun e s => A e k * (w s e * w s e))).
      intros e He. apply (is_derive_scal (fun s => w s e * w s e)).
      evar_last; [apply (is_derive_mult (fun s => w s e) (fun s => w s e)); [apply Hw, He|apply Hw, He|]|].
      + intros; apply Rmult_comm.
      + unfold plus, mult; simpl. ring.
    - pose proof (gradient_identity Err (w t) g Hinv Hg k Hk) as I0. unfold deficit in *.
      rewrite (sum_ext edges _ (fun e => (- 2) * (A e k * (w t e * g e)) + (- 2 * mu) * (A e k * squares (w t) e)))
        by (intros; unfold squares; ring).
      rewrite sum_plus, !sum_scal, I0. ring. }
  (* deficit times exp(2 mu t) has derivative 0 *)
  assert (C : forall t, a < t < b -> is_derive (fun s => deficit (squares (w s)) k * exp (2 * mu * s)) t 0).
  { intros t Ht.
    evar_last; [apply (is_derive_mult (fun s => deficit (squares (w s)) k) (fun s => exp (2 * mu * s)));
      [apply D, Ht|auto_derive; [exact I|reflexivity]|intros; apply Rmult_comm]|].
    unfold plus, mult; simpl. ring. }
  pose proof (constant_between _ a b s0 t0 C Hs0 Ht0) as X. simpl in X.
  replace (- 2 * mu * (t0 - s0)) with (2 * mu * s0 + - (2 * mu * t0)) by ring.
  rewrite exp_plus, exp_Ropp. pose proof (exp_pos (2 * mu * t0)).
  apply Rmult_eq_reg_r with (exp (2 * mu * t0)); [|lra]. rewrite X. field. lra.
Qed.

(** [B.gd-does-not-balance], [R.du-hu-lee]: along plain gradient flow the deficit is conserved. *)
Theorem deficit_conserved Err a b w :
  invariant Err -> flow Err 0 a b w -> forall k, In k units -> forall s t, a < s < b -> a < t < b ->
  deficit (squares (w t)) k = deficit (squares (w s)) k.
Proof.
  intros Hinv Hflow k Hk s t Hs Ht. rewrite (deficit_decays Err 0 a b w Hinv Hflow k Hk s t Hs Ht).
  replace (- 2 * 0 * (t - s)) with 0 by ring. rewrite exp_0. ring.
Qed.

(** So what starts out of balance (for the sum of squares) never gets there. *)
Corollary never_balances Err a b w k s t :
  invariant Err -> flow Err 0 a b w -> In k units -> a < s < b -> a < t < b ->
  deficit (squares (w s)) k <> 0 -> deficit (squares (w t)) k <> 0.
Proof.
  intros Hinv Hflow Hk Hs Ht H. rewrite (deficit_conserved Err a b w Hinv Hflow k Hk s t Hs Ht). exact H.
Qed.

(** [B.progress]: the sum of squared deficits falls at the rate 4 mu, exactly ... *)
Theorem progress_rate Err mu a b w s t :
  invariant Err -> flow Err mu a b w -> a < s < b -> a < t < b ->
  (Σ k ∈ units, deficit (squares (w t)) k ^ 2)
  = exp (- 4 * mu * (t - s)) * Σ k ∈ units, deficit (squares (w s)) k ^ 2.
Proof.
  intros Hinv Hflow Hs Ht. rewrite <- sum_scal. apply sum_ext. intros k Hk.
  rewrite (deficit_decays Err mu a b w Hinv Hflow k Hk s t Hs Ht).
  replace (- 4 * mu * (t - s)) with (- 2 * mu * (t - s) + - 2 * mu * (t - s)) by ring. rewrite exp_plus. ring.
Qed.

(** ... and says nothing of the error: two errors give the same deficits at all times. *)
Theorem progress_blind Err1 Err2 mu a b w1 w2 s :
  invariant Err1 -> invariant Err2 -> flow Err1 mu a b w1 -> flow Err2 mu a b w2 ->
  a < s < b -> (forall e, In e edges -> w1 s e = w2 s e) ->
  forall k t, In k units -> a < t < b -> deficit (squares (w1 t)) k = deficit (squares (w2 t)) k.
Proof.
  intros I1 I2 F1 F2 Hs H0 k t Hk Ht.
  rewrite (deficit_decays Err1 mu a b w1 I1 F1 k Hk s t Hs Ht), (deficit_decays Err2 mu a b w2 I2 F2 k Hk s t Hs Ht).
  f_equal. apply sum_ext. intros e He. unfold squares. rewrite H0 by exact He. reflexivity.
Qed.

(** A step of size eta with decay mu changes the deficit exactly so. *)
Theorem deficit_after_step Err mu eta w g :
  invariant Err -> has_gradient Err w g -> forall k, In k units ->
  deficit (squares (fun e => w e - eta * (g e + mu * w e))) k
  = (1 - eta * mu) ^ 2 * deficit (squares w) k + eta ^ 2 * deficit (squares g) k.
Proof.
  intros Hinv Hg k Hk. pose proof (gradient_identity Err w g Hinv Hg k Hk) as I0.
  unfold deficit in *.
  rewrite (sum_ext edges _ (fun e => (1 - eta * mu) ^ 2 * (A e k * squares w e)
    + (eta ^ 2 * (A e k * squares g e) + (- 2 * eta * (1 - eta * mu)) * (A e k * (w e * g e)))))
    by (intros; unfold squares; ring).
  rewrite !sum_plus, !sum_scal, I0. ring.
Qed.

(** [B.gd-does-not-balance]: a step of plain gradient descent from a balanced state leaves balance just if
    A^T g^2 is not 0 there; for a unit, if its incoming and outgoing gradients differ in norm. *)
Corollary step_leaves_balance_iff Err eta w g k :
  invariant Err -> has_gradient Err w g -> In k units -> eta <> 0 -> deficit (squares w) k = 0 ->
  (deficit (squares (fun e => w e - eta * g e)) k <> 0 <-> deficit (squares g) k <> 0).
Proof.
  intros Hinv Hg Hk Heta Hb. pose proof (deficit_after_step Err 0 eta w g Hinv Hg k Hk) as X.
  rewrite Hb in X. unfold deficit at 1 in X.
  rewrite (sum_ext edges _ (fun e => A e k * squares (fun e => w e - eta * g e) e)) in X
    by (intros; unfold squares; ring).
  fold (deficit (squares (fun e => w e - eta * g e)) k) in X. rewrite X.
  assert (0 < eta * eta) by nra. split; intros N Z; apply N.
  - rewrite Z. ring.
  - assert (Y : eta * eta * deficit (squares g) k = 0) by lra. destruct (Rmult_integral _ _ Y); lra.
Qed.

(** ** Critical points of error plus regularizer *)

(** [B.gd-regularized-balances]: where the gradient of E + sum rho_e(w_e) is 0, w is balanced. *)
Theorem critical_balanced Err w g (drho : E -> R -> R) :
  invariant Err -> has_gradient Err w g -> (forall e, In e edges -> g e + drho e (w e) = 0) ->
  forall k, In k units -> deficit (fun e => w e * drho e (w e)) k = 0.
Proof.
  intros Hinv Hg Hcrit k Hk. pose proof (gradient_identity Err w g Hinv Hg k Hk) as I0.
  unfold deficit in *.
  rewrite (sum_ext edges _ (fun e => (- 1) * (A e k * (w e * g e)))).
  - rewrite sum_scal, I0. ring.
  - intros e He. specialize (Hcrit e He). replace (drho e (w e)) with (- g e) by lra. ring.
Qed.

(** Without derivatives of E, and with kinks such as |w|: a minimum of E + R among the rescalings of w is
    balanced, if the cost of each weight is differentiable along rescalings (as |w|^p always is, w = 0
    included). *)
Theorem minimum_balanced Err w (phi psi : E -> R -> R) :
  invariant Err -> strictly_convex_costs edges phi psi ->
  (forall h, Err w + total_cost edges units A phi (fun _ => 0) <= Err (act h w) + total_cost edges units A phi h) ->
  balanced edges units A psi (fun _ => 0).
Proof.
  intros Hinv convex Hmin. apply (optimal_balanced edges units A phi psi convex).
  intros h. specialize (Hmin h). rewrite Hinv in Hmin. lra.
Qed.

(** ** Noether: any symmetry whose generator is a symmetric matrix *)

(** [R.noether]: if E is constant along curves through w that start in direction M w, with M symmetric,
    then <w, M w> is conserved by dw/dt = - grad E. (For M symmetric, w -> exp(t M) w is such a family.) *)
Theorem noether Err a b (M : E -> E -> R) (orbit : (E -> R) -> R -> E -> R) (w : R -> E -> R) :
  (forall d e, M d e = M e d) ->
  (forall v e, orbit v 0 e = v e) -> (forall v s, Err (orbit v s) = Err v) ->
  (forall v e, In e edges -> is_derive (fun s => orbit v s e) 0 (Σ d ∈ edges, M e d * v d)) ->
  flow Err 0 a b w ->
  forall s t, a < s < b -> a < t < b ->
  (Σ e ∈ edges, Σ d ∈ edges, w t e * (M e d * w t d)) = (Σ e ∈ edges, Σ d ∈ edges, w s e * (M e d * w s d)).
Proof.
  intros Hsym Horb0 Horb Hdir Hflow s0 t0 Hs0 Ht0.
  assert (Ident : forall v g, has_gradient Err v g -> (Σ e ∈ edges, g e * Σ d ∈ edges, M e d * v d) = 0).
  { intros v g Hg.
    assert (Hg' : has_gradient Err (orbit v 0) g).
    { intros eps Heps. destruct (Hg eps Heps) as (d & Hd & H). exists d. split; [exact Hd|].
      intros u Hu. rewrite Horb.
      rewrite (sum_ext edges _ (fun e => g e * (u e - v e))) by (intros; rewrite Horb0; reflexivity).
      rewrite (sum_ext edges (fun e => Rabs (u e - orbit v 0 e)) (fun e => Rabs (u e - v e)))
        by (intros; rewrite Horb0; reflexivity).
      apply H. intros e He. rewrite <- (Horb0 v e). apply Hu, He. }
    pose proof (chain_rule Err (orbit v) 0 g _ Hg' (Hdir v)) as D1.
    assert (D2 : is_derive (fun s => Err (orbit v s)) 0 0).
    { apply is_derive_ext with (fun _ => Err v); [intros s; symmetry; apply Horb|apply @is_derive_const]. }
    rewrite <- (is_derive_unique _ _ _ D1). apply is_derive_unique, D2. }
  assert (C : forall t, a < t < b -> is_derive (fun s => Σ e ∈ edges, Σ d ∈ edges, w s e * (M e d * w s d)) t 0).
  { intros t Ht. destruct (Hflow t Ht) as (g & Hg & Hw). specialize (Ident (w t) g Hg).
    replace 0 with (Σ e ∈ edges, Σ d ∈ edges, (- g e * (M e d * w t d) + w t e * (M e d * - g d))).
    - apply (sum_derive edges (fun e s => Σ d ∈ edges, w s e * (M e d * w s d))). intros e He.
      apply (sum_derive edges (fun d s => w s e * (M e d * w s d))). intros d Hd.
      evar_last; [apply (is_derive_mult (fun s => w s e) (fun s => M e d * w s d));
        [apply Hw, He|apply is_derive_scal, Hw, Hd|intros; apply Rmult_comm]|].
      unfold plus, mult; simpl. ring.
    - rewrite (sum_ext edges _ (fun e => (- 1) * (g e * Σ d ∈ edges, M e d * w t d)
        + Σ d ∈ edges, (- g d) * (M d e * w t e))).
      + rewrite sum_plus, sum_scal, Ident, sum_swap.
        rewrite (sum_ext edges _ (fun d => (- 1) * (g d * Σ e ∈ edges, M d e * w t e))).
        * rewrite sum_scal, Ident. ring.
        * intros d _. rewrite <- !sum_scal. apply sum_ext. intros; ring.
      + intros e _. rewrite sum_plus. f_equal.
        * rewrite <- !sum_scal. apply sum_ext. intros; ring.
        * apply sum_ext. intros d _. rewrite (Hsym e d). ring. }
  exact (constant_between _ a b s0 t0 C Hs0 Ht0).
Qed.

(** Mirror flow with potential psi, d/dt psi'(w) = - grad E, conserves A^T (w psi'(w) - psi(w)). *)
Theorem mirror_conserved Err a b (pot dpot : E -> R -> R) (w : R -> E -> R) :
  invariant Err ->
  (forall e x, is_derive (pot e) x (dpot e x)) ->
  (forall t, a < t < b -> exists g dw, has_gradient Err (w t) g /\ forall e, In e edges ->
    is_derive (fun s => w s e) t (dw e) /\ is_derive (fun s => dpot e (w s e)) t (- g e)) ->
  forall k, In k units -> forall s t, a < s < b -> a < t < b ->
  deficit (fun e => w t e * dpot e (w t e) - pot e (w t e)) k
  = deficit (fun e => w s e * dpot e (w s e) - pot e (w s e)) k.
Proof.
  intros Hinv Hpot Hflow k Hk s0 t0 Hs0 Ht0.
  assert (C : forall t, a < t < b -> is_derive (fun s => deficit (fun e => w s e * dpot e (w s e) - pot e (w s e)) k) t 0).
  { intros t Ht. destruct (Hflow t Ht) as (g & dw & Hg & Hw).
    replace 0 with (Σ e ∈ edges, A e k * (- (w t e * g e))).
    - unfold deficit. apply (sum_derive edges (fun e s => A e k * (w s e * dpot e (w s e) - pot e (w s e)))).
      intros e He. destruct (Hw e He) as [D1 D2].
      apply (is_derive_scal (fun s => w s e * dpot e (w s e) - pot e (w s e))).
      evar_last; [apply (is_derive_minus (fun s => w s e * dpot e (w s e)) (fun s => pot e (w s e)));
        [apply (is_derive_mult (fun s => w s e) (fun s => dpot e (w s e)));
          [exact D1|exact D2|intros; apply Rmult_comm]
        |apply (is_derive_comp (pot e) (fun s => w s e)); [apply Hpot|exact D1]]|].
      unfold minus, plus, opp, mult, scal; simpl; unfold mult; simpl. ring.
    - pose proof (gradient_identity Err (w t) g Hinv Hg k Hk) as I0. unfold deficit in I0.
      rewrite (sum_ext edges _ (fun e => (- 1) * (A e k * (w t e * g e)))) by (intros; ring).
      rewrite sum_scal, I0. ring. }
  exact (constant_between _ a b s0 t0 C Hs0 Ht0).
Qed.

End Gradient.

(** [B.gradient-identity] for a unit k of degree c in a network as in [Rescaling]: if the error does not
    change when k is scaled (it does not if it depends on the weights through the network's function, see
    [unit_scaling_preserves]), then the sum of w dE/dw over incoming weights is c times that over outgoing
    ones. Biases are incoming weights. *)
Theorem unit_gradient_identity (N : network) (dec : forall i j : unit N, {i = j} + {i <> j})
    (edges : list (edge N)) (c : unit N -> R) (k : unit N) (Err : (edge N -> R) -> R) (w g : edge N -> R) :
  (forall s v, 0 < s -> Err (scale_unit N dec c k s v) = Err v) -> has_gradient edges Err w g ->
  (Σ e ∈ edges, (if dec (target N e) k then 1 else 0) * (w e * g e))
  = c k * Σ e ∈ edges, (if dec (source N e) k then 1 else 0) * (w e * g e).
Proof.
  intros Hinv Hg.
  set (A := fun (e : edge N) (_ : unit N) =>
    (if dec (target N e) k then 1 else 0) - c k * (if dec (source N e) k then 1 else 0)).
  assert (I0 : invariant [k] A Err).
  { intros h v. rewrite <- (Hinv (exp (h k)) v (exp_pos _)). f_equal. apply functional_extensionality. intros e.
    unfold act, log_scale, scale_unit, A, Rpower. simpl. rewrite ln_exp.
    destruct (dec (target N e) k), (dec (source N e) k);
      [replace ((1 - c k * 1) * h k + 0) with (h k + - (c k * h k)) by ring
      |replace ((1 - c k * 0) * h k + 0) with (h k) by ring
      |replace ((0 - c k * 1) * h k + 0) with (- (c k * h k)) by ring
      |replace ((0 - c k * 0) * h k + 0) with 0 by ring];
      rewrite ?exp_plus, ?exp_Ropp, ?exp_0; field; apply Rgt_not_eq, exp_pos. }
  pose proof (gradient_identity edges [k] A Err w g I0 Hg k (or_introl eq_refl)) as X.
  unfold deficit, A in X.
  rewrite (sum_ext edges _ (fun e => (if dec (target N e) k then 1 else 0) * (w e * g e)
    - c k * ((if dec (source N e) k then 1 else 0) * (w e * g e)))) in X by (intros; ring).
  rewrite sum_minus, sum_scal in X. lra.
Qed.
