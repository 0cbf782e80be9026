(** * The balanced state

    A rescaling with log-scales [h] (one number per scale, say per hidden unit) multiplies weight [e] by
    exp((A h)_e). The matrix [A] is the network's: for a unit of degree c it has 1 at incoming weights and
    -c at outgoing ones; nothing is assumed of it here, so recurrent networks, shared weights, tied layers
    and any degrees are covered. Weight [e] costs [phi e t] when its logarithm has moved by t: for a
    regularizer sum g(w) this is g(|w_e| exp t), and its derivative [psi e t] is |w| g'(|w|) at the new
    weight. "psi e is strictly increasing" says that w g'(w) is strictly increasing in w > 0.

    Claims [B.strictly-convex], [B.optimal-scale-general], [B.balance-equation] and the easy half of
    [B.existence]. *)

From Balproof Require Import Sums Homogeneous OptimalScale.

Section Problem.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (phi psi : E -> R -> R).

(** (A h)_e *)
Definition log_scale (h : U -> R) (e : E) : R := Σ k ∈ units, A e k * h k.

Definition total_cost (h : U -> R) : R := Σ e ∈ edges, phi e (log_scale h e).

(** The derivative of the total cost in the scale of [k]: for a unit of degree c, what comes in less c
    times what goes out. *)
Definition imbalance (h : U -> R) (k : U) : R := Σ e ∈ edges, A e k * psi e (log_scale h e).

Definition balanced (h : U -> R) : Prop := forall k, In k units -> imbalance h k = 0.

Definition optimal (h : U -> R) : Prop := forall h', total_cost h <= total_cost h'.

(** [psi] is the derivative of [phi] and increases strictly: each cost is strictly convex in log-weights. *)
Definition strictly_convex_costs : Prop :=
  forall e, In e edges ->
    (forall t, is_derive (phi e) t (psi e t)) /\ (forall s t, s < t -> psi e s < psi e t).

(** ** Linear algebra *)

Lemma log_scale_minus h h' e :
  log_scale (fun k => h' k - h k) e = log_scale h' e - log_scale h e.
Proof.
  unfold log_scale. rewrite <- sum_minus. apply sum_ext. intros; ring.
Qed.

Lemma log_scale_mix s h h' e :
  log_scale (fun k => (1 - s) * h k + s * h' k) e = (1 - s) * log_scale h e + s * log_scale h' e.
Proof.
  unfold log_scale. rewrite <- !sum_scal, <- sum_plus. apply sum_ext. intros; ring.
Qed.

Lemma log_scale_line t h d e :
  log_scale (fun k => h k + t * d k) e = log_scale h e + t * log_scale d e.
Proof.
  unfold log_scale. rewrite <- !sum_scal, <- sum_plus. apply sum_ext. intros; ring.
Qed.

Lemma adjoint (y : E -> R) (d : U -> R) :
  (Σ e ∈ edges, y e * log_scale d e) = Σ k ∈ units, (Σ e ∈ edges, A e k * y e) * d k.
Proof.
  unfold log_scale.
  rewrite (sum_ext _ _ (fun e => Σ k ∈ units, y e * (A e k * d k)))
    by (intros; symmetry; apply sum_scal).
  rewrite sum_swap. apply sum_ext. intros k _.
  rewrite <- sum_scal_r. apply sum_ext. intros; ring.
Qed.

Lemma slope h d :
  (Σ e ∈ edges, psi e (log_scale h e) * log_scale d e) = Σ k ∈ units, imbalance h k * d k.
Proof. apply adjoint. Qed.

(** ** Convexity *)

Hypothesis convex : strictly_convex_costs.

Lemma tangent e x y : In e edges -> phi e x + psi e x * (y - x) <= phi e y.
Proof.
  intros He. destruct (convex e He) as [D I].
  destruct (MVT_gen (phi e) x y (psi e)) as (c & Hc & H).
  - intros; apply D.
  - intros z _. apply continuity_pt_filterlim, (ex_derive_continuous (phi e)). eexists; apply D.
  - assert (psi e x * (y - x) <= psi e c * (y - x)); [|lra].
    unfold Rmin, Rmax in Hc. destruct (Rle_dec x y) as [Hxy|Hxy].
    + assert (psi e x <= psi e c) by (destruct (Req_dec x c) as [->|]; [lra|apply Rlt_le, I; lra]). nra.
    + assert (psi e c <= psi e x) by (destruct (Req_dec x c) as [->|]; [lra|apply Rlt_le, I; lra]). nra.
Qed.

(** Between the tangent and the cost, with a point [m] between. *)
Lemma tangent_gap e x m y : In e edges ->
  phi e x + psi e x * (y - x) + (psi e m - psi e x) * (y - m) <= phi e y.
Proof.
  intros He. pose proof (tangent e x m He). pose proof (tangent e m y He). nra.
Qed.

Lemma tangent_strict e x y : In e edges -> y <> x -> phi e x + psi e x * (y - x) < phi e y.
Proof.
  intros He Hxy. pose proof (tangent_gap e x ((x + y) / 2) y He) as G.
  destruct (convex e He) as [_ I].
  assert (0 < (psi e ((x + y) / 2) - psi e x) * (y - (x + y) / 2)); [|lra].
  destruct (Rlt_dec x y).
  - pose proof (I x ((x + y) / 2) ltac:(lra)). apply Rmult_lt_0_compat; lra.
  - pose proof (I ((x + y) / 2) x ltac:(lra)). nra.
Qed.

Lemma tangent_total h h' :
  total_cost h + (Σ k ∈ units, imbalance h k * (h' k - h k)) <= total_cost h'.
Proof.
  rewrite <- (slope h (fun k => h' k - h k)). unfold total_cost. rewrite <- sum_plus.
  apply sum_le. intros e He. rewrite log_scale_minus. apply tangent, He.
Qed.

Lemma tangent_total_strict h h' e :
  In e edges -> log_scale h e <> log_scale h' e ->
  total_cost h + (Σ k ∈ units, imbalance h k * (h' k - h k)) < total_cost h'.
Proof.
  intros He Hne. rewrite <- (slope h (fun k => h' k - h k)). unfold total_cost. rewrite <- sum_plus.
  apply sum_lt with e; auto.
  - intros e' He'. rewrite log_scale_minus. apply tangent, He'.
  - rewrite log_scale_minus. apply tangent_strict; auto.
Qed.

(** [B.strictly-convex]: the cost is strictly convex in the logarithms L of the weights ... *)
Theorem strictly_convex_in_log_weights (L L' : E -> R) s e :
  0 < s < 1 -> In e edges -> L e <> L' e ->
  (Σ e ∈ edges, phi e ((1 - s) * L e + s * L' e))
  < (1 - s) * (Σ e ∈ edges, phi e (L e)) + s * (Σ e ∈ edges, phi e (L' e)).
Proof.
  intros Hs He Hne. rewrite <- !sum_scal, <- sum_plus.
  assert (T : forall e', In e' edges ->
    phi e' ((1 - s) * L e' + s * L' e') <= (1 - s) * phi e' (L e') + s * phi e' (L' e')
    /\ (L e' <> L' e' -> phi e' ((1 - s) * L e' + s * L' e') < (1 - s) * phi e' (L e') + s * phi e' (L' e'))).
  { intros e' He'. set (x := L e'). set (y := L' e'). set (z := (1 - s) * x + s * y).
    assert (Z : (1 - s) * (psi e' z * (x - z)) + s * (psi e' z * (y - z)) = 0).
    { transitivity (psi e' z * ((1 - s) * x + s * y - z)); [ring|unfold z; ring]. }
    pose proof (Rmult_le_compat_l (1 - s) _ _ ltac:(lra) (tangent e' z x He')).
    pose proof (Rmult_le_compat_l s _ _ ltac:(lra) (tangent e' z y He')).
    split; [lra|].
    intros Hxy. assert (Hxz : x <> z) by (unfold z; intros X; apply Hxy; nra).
    pose proof (Rmult_lt_compat_l (1 - s) _ _ ltac:(lra) (tangent_strict e' z x He' Hxz)). lra. }
  apply sum_lt with e; auto; intros; apply T; auto.
Qed.

(** ... hence on the linear manifold of those that rescalings reach. *)
Theorem total_cost_strictly_convex h h' s e :
  0 < s < 1 -> In e edges -> log_scale h e <> log_scale h' e ->
  total_cost (fun k => (1 - s) * h k + s * h' k) < (1 - s) * total_cost h + s * total_cost h'.
Proof.
  intros Hs He Hne. unfold total_cost.
  rewrite (sum_ext edges _ (fun e => phi e ((1 - s) * log_scale h e + s * log_scale h' e)))
    by (intros; rewrite log_scale_mix; reflexivity).
  exact (strictly_convex_in_log_weights (log_scale h) (log_scale h') s e Hs He Hne).
Qed.

(** ** Uniqueness and optimality *)

(** [B.strictly-convex], uniqueness: two balanced states have the same weights. *)
Theorem balanced_unique h h' :
  balanced h -> balanced h' -> forall e, In e edges -> log_scale h e = log_scale h' e.
Proof.
  intros Hb Hb' e He.
  destruct (Req_dec (log_scale h e) (log_scale h' e)) as [|Hne]; [assumption|exfalso].
  pose proof (tangent_total_strict h h' e He Hne) as H1.
  pose proof (tangent_total h' h) as H2.
  rewrite sum_zero in H1 by (intros k Hk; rewrite (Hb k Hk); ring).
  rewrite sum_zero in H2 by (intros k Hk; rewrite (Hb' k Hk); ring). lra.
Qed.

(** A balanced state is optimal, and strictly better than any state with other weights. *)
Theorem balanced_optimal h : balanced h -> optimal h.
Proof.
  intros Hb h'. pose proof (tangent_total h h') as H.
  rewrite sum_zero in H by (intros k Hk; rewrite (Hb k Hk); ring). lra.
Qed.

Theorem balanced_strictly_optimal h h' e :
  balanced h -> In e edges -> log_scale h e <> log_scale h' e -> total_cost h < total_cost h'.
Proof.
  intros Hb He Hne. pose proof (tangent_total_strict h h' e He Hne) as H.
  rewrite sum_zero in H by (intros k Hk; rewrite (Hb k Hk); ring). lra.
Qed.

(** A step after which every unit that has moved is balanced does not raise the cost. *)
Theorem step_descends h h' :
  (forall k, In k units -> h' k = h k \/ imbalance h' k = 0) -> total_cost h' <= total_cost h.
Proof.
  intros Hs. pose proof (tangent_total h' h) as H.
  rewrite sum_zero in H by (intros k Hk; destruct (Hs k Hk) as [->| ->]; ring). lra.
Qed.

(** It lowers the cost strictly if some unit has been brought from imbalance to balance. *)
Theorem step_descends_strictly h h' k :
  (forall k, In k units -> h' k = h k \/ imbalance h' k = 0) ->
  imbalance h k <> 0 -> imbalance h' k = 0 -> total_cost h' < total_cost h.
Proof.
  intros Hs Hk Hk'.
  assert (exists e, In e edges /\ log_scale h' e <> log_scale h e) as (e & He & Hne).
  { destruct (Exists_dec (fun e => log_scale h' e <> log_scale h e) edges) as [X|X].
    - intros e. destruct (Req_EM_T (log_scale h' e) (log_scale h e)); [right|left]; auto.
    - apply Exists_exists in X. exact X.
    - exfalso. apply Hk. rewrite <- Hk'. apply sum_ext. intros e He. do 2 f_equal.
      destruct (Req_dec (log_scale h' e) (log_scale h e)) as [->|Hne]; [reflexivity|].
      exfalso. apply X, Exists_exists. exists e; auto. }
  pose proof (tangent_total_strict h' h e He Hne) as H.
  rewrite sum_zero in H by (intros j Hj; destruct (Hs j Hj) as [->| ->]; ring). lra.
Qed.

(** The derivative at a minimum is 0. *)
Lemma minimum_derivative (f : R -> R) (l : R) :
  is_derive f 0 l -> (exists d, 0 < d /\ forall t, Rabs t < d -> f 0 <= f t) -> l = 0.
Proof.
  intros D (d & Hd & M). apply is_derive_Reals in D.
  set (pr := exist (fun l => derivable_pt_lim f 0 l) l D : derivable_pt f 0).
  change l with (derive_pt f 0 pr).
  apply deriv_minimum with (- d) d; try lra.
  intros x H1 H2. apply M, Rabs_def1; lra.
Qed.

Lemma total_cost_derive h d :
  is_derive (fun t => total_cost (fun k => h k + t * d k)) 0 (Σ k ∈ units, imbalance h k * d k).
Proof.
  rewrite <- slope. unfold total_cost. apply sum_derive. intros e He.
  apply is_derive_ext with (fun t => phi e (log_scale h e + t * log_scale d e)).
  { intros t. rewrite log_scale_line. reflexivity. }
  destruct (convex e He) as [D _].
  replace (psi e (log_scale h e) * log_scale d e)
    with (scal (log_scale d e) (psi e (log_scale h e)))
    by (unfold scal; simpl; unfold mult; simpl; ring).
  apply (is_derive_comp (phi e) (fun t => log_scale h e + t * log_scale d e)).
  - rewrite Rmult_0_l, Rplus_0_r. apply D.
  - auto_derive; [exact I|ring].
Qed.

Theorem optimal_balanced h : optimal h -> balanced h.
Proof.
  intros Ho.
  assert (Z : (Σ k ∈ units, imbalance h k * imbalance h k) = 0).
  { apply (minimum_derivative (fun t => total_cost (fun k => h k + t * imbalance h k))).
    - apply total_cost_derive.
    - exists 1; split; [lra|]. intros t _.
      eapply Rle_trans; [|apply Ho].
      apply Req_le. unfold total_cost. apply sum_ext. intros e _. f_equal.
      apply sum_ext. intros; ring. }
  intros k Hk.
  assert (imbalance h k * imbalance h k = 0).
  { apply (sum_eq_zero units (fun k => imbalance h k * imbalance h k)); auto; [|lra].
    intros; apply Rle_0_sqr. }
  destruct (Rmult_integral _ _ H); assumption.
Qed.

(** [B.balance-equation], [B.optimal-scale-general]: balance and optimality are the same thing. *)
Theorem balanced_iff_optimal h : balanced h <-> optimal h.
Proof. split; [apply balanced_optimal|apply optimal_balanced]. Qed.

(** The optimal scales are one of them and the null space of A: all h' with A h' = A h. *)
Theorem optimal_set h h' : optimal h ->
  (optimal h' <-> forall e, In e edges -> log_scale h' e = log_scale h e).
Proof.
  intros Ho. split.
  - intros Ho' e He. apply balanced_unique; auto using optimal_balanced.
  - intros Heq x. unfold total_cost at 1.
    rewrite (sum_ext edges _ (fun e => phi e (log_scale h e))) by (intros; rewrite Heq by assumption; reflexivity).
    apply Ho.
Qed.

(** [B.existence], the easy half: where some rescaling raises no weight and lowers one, and costs rise
    with weights, nothing is balanced and the optimum is not attained. *)
Theorem lowering_direction_not_attained d :
  (forall e t, In e edges -> 0 < psi e t) ->
  (forall e, In e edges -> log_scale d e <= 0) -> (exists e, In e edges /\ log_scale d e < 0) ->
  forall h, ~ optimal h.
Proof.
  intros pos Hd (e & He & Hlt) h Ho.
  pose proof (slope h d) as S.
  rewrite (sum_zero units) in S by (intros k Hk; rewrite (optimal_balanced h Ho k Hk); ring).
  assert (Hz : 0 < Σ e ∈ edges, - (psi e (log_scale h e) * log_scale d e)).
  { apply sum_pos with e; auto.
    - intros e' He'. pose proof (pos e' (log_scale h e') He'). pose proof (Hd e' He'). nra.
    - pose proof (pos e (log_scale h e) He). nra. }
  rewrite sum_opp in Hz. lra.
Qed.

(** The two cases of [B.existence] exclude each other. *)
Theorem existence_cases_exclusive z d :
  (forall e, In e edges -> 0 < z e) ->
  (forall k, In k units -> (Σ e ∈ edges, A e k * z e) = 0) ->
  (forall e, In e edges -> log_scale d e <= 0) -> forall e, In e edges -> log_scale d e = 0.
Proof.
  intros Hz Hc Hd e He.
  pose proof (adjoint z d) as S.
  rewrite (sum_zero units) in S by (intros k Hk; rewrite (Hc k Hk); ring).
  assert (- (z e * log_scale d e) = 0).
  { apply (sum_eq_zero edges (fun e => - (z e * log_scale d e))); auto.
    - intros e' He'. pose proof (Hz e' He'). pose proof (Hd e' He'). nra.
    - rewrite sum_opp. lra. }
  pose proof (Hz e He). nra.
Qed.

End Problem.

Arguments log_scale {E U} units A h e.
Arguments total_cost {E U} edges units A phi h.
Arguments imbalance {E U} edges units A psi h k.
Arguments balanced {E U} edges units A psi h.
Arguments optimal {E U} edges units A phi h.
Arguments strictly_convex_costs {E} edges phi psi.

(** ** The regularizer sum |w|^p, with a coefficient a > 0 for each weight *)

Definition power_cost (a p t : R) : R := a * exp (p * t).
Definition power_marginal (a p t : R) : R := p * a * exp (p * t).

Theorem power_costs_convex {E : Type} (edges : list E) (a p : E -> R) :
  (forall e, In e edges -> 0 < a e /\ 0 < p e) ->
  strictly_convex_costs edges (fun e => power_cost (a e) (p e)) (fun e => power_marginal (a e) (p e)).
Proof.
  intros H e He. destruct (H e He) as [Ha Hp]. unfold power_cost, power_marginal. split.
  - intros t. auto_derive; [exact I|ring].
  - intros s t Hst. apply Rmult_lt_compat_l; [nra|]. apply exp_increasing. nra.
Qed.

(** |w exp t|^p is of this form. *)
Theorem power_cost_is (w p t : R) : apow (exp t * w) p = power_cost (apow w p) p t.
Proof.
  rewrite apow_scale by apply exp_pos. unfold power_cost, Rpower. rewrite ln_exp. ring.
Qed.

(** A general regularizer g: the cost g(|w| exp t) is strictly convex in t if w g'(w) is strictly
    increasing on w > 0. *)
Theorem general_costs_convex {E : Type} (edges : list E) (w : E -> R) (g dg : E -> R -> R) :
  (forall e, In e edges -> w e <> 0
    /\ (forall x, 0 < x -> is_derive (g e) x (dg e x))
    /\ (forall x y, 0 < x < y -> x * dg e x < y * dg e y)) ->
  strictly_convex_costs edges (fun e t => g e (Rabs (w e) * exp t))
    (fun e t => Rabs (w e) * exp t * dg e (Rabs (w e) * exp t)).
Proof.
  intros H e He. destruct (H e He) as (Hw & D & I).
  assert (Hp : 0 < Rabs (w e)) by (apply Rabs_pos_lt; exact Hw). split.
  - intros t. apply (is_derive_comp (g e) (fun t => Rabs (w e) * exp t)).
    + apply D. apply Rmult_lt_0_compat; [exact Hp|apply exp_pos].
    + auto_derive; [exact Coq.Init.Logic.I|ring].
  - intros s t Hst. apply I. split.
    + apply Rmult_lt_0_compat; [exact Hp|apply exp_pos].
    + apply Rmult_lt_compat_l; [exact Hp|]. apply exp_increasing, Hst.
Qed.

(** ** One unit, any regularizer

    No convexity: at a minimum over its own scale t, what comes in is c times what goes out. Here [m e] is
    the marginal cost w g'(w) of weight e at its present value. *)
Theorem balance_equation {E : Type} (ins outs : list E) (phi : E -> R -> R) (m : E -> R) (c : R) :
  (forall e, In e ins \/ In e outs -> is_derive (phi e) 0 (m e)) ->
  (forall t, (Σ e ∈ ins, phi e 0) + (Σ e ∈ outs, phi e 0)
          <= (Σ e ∈ ins, phi e t) + (Σ e ∈ outs, phi e (- c * t))) ->
  sum ins m = c * sum outs m.
Proof.
  intros D Hmin.
  assert (X : sum ins m + (Σ e ∈ outs, - c * m e) = 0).
  { apply (minimum_derivative (fun t => (Σ e ∈ ins, phi e t) + (Σ e ∈ outs, phi e (- c * t)))).
    - apply @is_derive_plus.
      + apply sum_derive. intros e He. apply D. left; exact He.
      + apply (sum_derive outs (fun e t => phi e (- c * t))). intros e He.
        evar_last; [apply (is_derive_comp (phi e) (fun t => - c * t));
          [rewrite Rmult_0_r; apply D; right; exact He|auto_derive; [exact I|reflexivity]]|].
        unfold scal; simpl; unfold mult; simpl. ring.
    - exists 1. split; [lra|]. intros t _.
      rewrite (sum_ext outs (fun e => phi e (- c * 0)) (fun e => phi e 0))
        by (intros; rewrite Rmult_0_r; reflexivity).
      apply Hmin. }
  rewrite sum_scal in X. lra.
Qed.

(** With |w|^p coming in and |w|^q going out, costs IN and OUT > 0: p IN = c q OUT at balance, so that the
    costs are equal exactly if p = c q. *)
Theorem balance_of_two_powers (IN OUT p q c : R) : 0 < IN -> 0 < OUT -> 0 < p ->
  p * IN = c * q * OUT -> (IN = OUT <-> p = c * q).
Proof.
  intros HI HO Hp B. split.
  - intros E. rewrite E in B. apply Rmult_eq_reg_r with OUT; lra.
  - intros E. rewrite <- E in B. apply Rmult_eq_reg_l with p; lra.
Qed.
