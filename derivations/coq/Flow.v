(** * Flows that descend the cost, and that they converge

    The log-scales follow dh/dt = - r grad F(h), with F the total cost: for any matrix A, any number of
    weights, and strictly convex costs. A solution on [0, oo) is given here. Nothing is assumed of the
    null space of A, and no compactness is used. Claims [S.gradient-flow] and [S.convergence], which [Stock]
    states for recurrent networks. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance Convergence.

(** ** Limits from the right *)

Lemma sum_filterlim {T S : Type} (l : list T) (f : T -> S -> R) (y : T -> R) (F : (S -> Prop) -> Prop) :
  Filter F -> (forall x, In x l -> filterlim (f x) F (locally (y x))) ->
  filterlim (fun s => Σ x ∈ l, f x s) F (locally (sum l y)).
Proof.
  intros FF. induction l as [|a l IH]; simpl; intros H; [apply filterlim_const|].
  eapply (filterlim_comp_2 (f a) (fun s => Σ x ∈ l, f x s) Rplus).
  - apply H; auto.
  - apply IH; auto.
  - apply (filterlim_plus (y a) (sum l y)).
Qed.

Lemma scal_filterlim {S : Type} (c : R) (f : S -> R) (y : R) (F : (S -> Prop) -> Prop) :
  Filter F -> filterlim f F (locally y) -> filterlim (fun s => c * f s) F (locally (c * y)).
Proof.
  intros FF H. eapply filterlim_comp; [exact H|]. apply (filterlim_scal_r c y).
Qed.

Lemma mult_filterlim {S : Type} (f g : S -> R) (y z : R) (F : (S -> Prop) -> Prop) :
  Filter F -> filterlim f F (locally y) -> filterlim g F (locally z) ->
  filterlim (fun s => f s * g s) F (locally (y * z)).
Proof.
  intros FF Hf Hg. eapply (filterlim_comp_2 f g Rmult); [exact Hf|exact Hg|]. apply (filterlim_mult y z).
Qed.

Lemma comp_filterlim {S : Type} (phi : R -> R) (f : S -> R) (y : R) (F : (S -> Prop) -> Prop) :
  filterlim f F (locally y) -> continuous phi y -> filterlim (fun s => phi (f s)) F (locally (phi y)).
Proof. intros Hf Hp. exact (filterlim_comp _ _ _ f phi _ _ _ Hf Hp). Qed.

(** Where the derivative is not positive for t > 0, a function that is continuous at 0 from the right does
    not rise. *)
Lemma nonincreasing (f df : R -> R) :
  (forall t, 0 < t -> is_derive f t (df t) /\ df t <= 0) -> filterlim f (at_right 0) (locally (f 0)) ->
  forall s t, 0 <= s <= t -> f t <= f s.
Proof.
  intros D H0.
  assert (P : forall s t, 0 < s <= t -> f t <= f s).
  { intros s t Hst. destruct (MVT_gen f s t df) as (c & Hc & M).
    - intros x Hx. apply D. rewrite Rmin_left in Hx; lra.
    - intros x Hx. rewrite Rmin_left in Hx by lra.
      apply continuity_pt_filterlim, (ex_derive_continuous f). exists (df x). apply D. lra.
    - rewrite Rmin_left, Rmax_right in Hc by lra. destruct (D c ltac:(lra)) as [_ Hd]. nra. }
  intros s t Hst. destruct (Req_dec s 0) as [->|Hs]; [|apply P; lra].
  destruct (Req_dec t 0) as [->|Ht]; [lra|].
  apply (filterlim_le (F := at_right 0) (fun _ => f t) f (f t) (f 0)).
  - exists (mkposreal t ltac:(lra)). intros x Hx Hpos. apply P.
    apply Rabs_lt_between' in Hx. simpl in Hx. lra.
  - apply filterlim_const.
  - exact H0.
Qed.

Lemma constant_from_zero (f : R -> R) :
  (forall t, 0 < t -> is_derive f t 0) -> filterlim f (at_right 0) (locally (f 0)) ->
  forall t, 0 <= t -> f t = f 0.
Proof.
  intros D H0 t Ht. apply Rle_antisym.
  - apply (nonincreasing f (fun _ => 0)); [|exact H0|lra]. intros s Hs. split; [apply D, Hs|lra].
  - apply Ropp_le_cancel. apply (nonincreasing (fun t => - f t) (fun _ => - 0)); [| |lra].
    + intros s Hs. split; [apply (is_derive_opp f), D, Hs|lra].
    + apply (comp_filterlim Ropp f); [exact H0|]. apply (ex_derive_continuous Ropp). auto_derive. exact I.
Qed.

Section Flow.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (phi psi : E -> R -> R).

Notation scale := (log_scale units A).
Notation total := (total_cost edges units A phi).
Notation imb := (imbalance edges units A psi).

(** The log-scales follow dh/dt = - r grad F(h) for t > 0, and are continuous at 0 from the right. *)
Definition gradient_flow (r : R) (h : R -> U -> R) : Prop :=
  forall k, In k units -> filterlim (fun t => h t k) (at_right 0) (locally (h 0 k)) /\
    forall t, 0 < t -> is_derive (fun s => h s k) t (- r * imb (h t) k).

(** The cost changes at the rate - r |grad F|^2, convex or not. *)
Lemma flow_cost_derivative_any r h t :
  (forall e t, In e edges -> is_derive (phi e) t (psi e t)) -> gradient_flow r h -> 0 < t ->
  is_derive (fun s => total (h s)) t (- r * Σ k ∈ units, imb (h t) k ^ 2).
Proof.
  intros D flow Ht.
  evar_last.
  - apply (sum_derive edges (fun e s => phi e (scale (h s) e))
      (fun e => psi e (scale (h t) e) * scale (fun k => - r * imb (h t) k) e)).
    intros e He. evar_last.
    + apply (is_derive_comp (phi e) (fun s => scale (h s) e)); [apply D, He|].
      apply (sum_derive units (fun k s => A e k * h s k) (fun k => A e k * (- r * imb (h t) k))).
      intros k Hk. apply (is_derive_scal (fun s => h s k)), flow; assumption.
    + unfold scal; simpl; unfold mult; simpl. unfold log_scale. ring.
  - rewrite (slope edges units A psi). rewrite <- sum_scal. apply sum_ext. intros k _. ring.
Qed.

Hypothesis convex : strictly_convex_costs edges phi psi.

Section Solution.
Variables (r : R) (h : R -> U -> R).
Hypothesis rate : 0 < r.
Hypothesis flow : gradient_flow r h.

Lemma scale_right e : filterlim (fun t => scale (h t) e) (at_right 0) (locally (scale (h 0) e)).
Proof.
  apply (sum_filterlim units (fun k t => A e k * h t k)); [apply _|].
  intros k Hk. apply scal_filterlim; [apply _|]. apply flow, Hk.
Qed.

Lemma phi_continuous e t : In e edges -> continuous (phi e) t.
Proof. intros He. apply (ex_derive_continuous (phi e)). eexists. apply (convex e He). Qed.

Lemma total_right : filterlim (fun t => total (h t)) (at_right 0) (locally (total (h 0))).
Proof.
  apply (sum_filterlim edges (fun e t => phi e (scale (h t) e))); [apply _|].
  intros e He. apply comp_filterlim; [apply scale_right|apply phi_continuous, He].
Qed.

Lemma flow_cost_derivative t : 0 < t ->
  is_derive (fun s => total (h s)) t (- r * Σ k ∈ units, imb (h t) k ^ 2).
Proof. apply flow_cost_derivative_any; [intros; apply convex; assumption|exact flow]. Qed.

Lemma squares_nonneg x : 0 <= Σ k ∈ units, imb x k ^ 2.
Proof. apply sum_nonneg. intros k _. apply pow2_ge_0. Qed.

(** The cost does not rise, *)
Theorem flow_cost_falls s t : 0 <= s <= t -> total (h t) <= total (h s).
Proof.
  apply (nonincreasing (fun t => total (h t)) (fun t => - r * Σ k ∈ units, imb (h t) k ^ 2)); [|exact total_right].
  intros x Hx. split; [apply flow_cost_derivative, Hx|]. pose proof (squares_nonneg (h x)). nra.
Qed.

Variable x : U -> R.
Hypothesis balanced_x : balanced edges units A psi x.

Definition distance2 (t : R) : R := Σ k ∈ units, (h t k - x k) ^ 2.

Lemma distance_derivative t : 0 < t ->
  is_derive distance2 t (- 2 * r * Σ k ∈ units, imb (h t) k * (h t k - x k)).
Proof.
  intros Ht. unfold distance2. evar_last.
  - apply (sum_derive units (fun k s => (h s k - x k) ^ 2)
      (fun k => 2 * (h t k - x k) * (- r * imb (h t) k))).
    intros k Hk. destruct (flow k Hk) as [_ D]. specialize (D t Ht).
    evar_last.
    + apply (is_derive_comp (fun y => (y - x k) ^ 2) (fun s => h s k)); [|exact D].
      auto_derive; [exact I|reflexivity].
    + unfold scal; simpl; unfold mult; simpl. ring.
  - rewrite <- sum_scal. apply sum_ext. intros; ring.
Qed.

(** By convexity, F(h) - F(x) is at most the slope of F at h along h - x. *)
Lemma gap_below_slope y : total y - total x <= Σ k ∈ units, imb y k * (y k - x k).
Proof.
  pose proof (tangent_total edges units A phi psi convex y x) as T.
  rewrite (sum_ext units (fun k => imb y k * (x k - y k)) (fun k => - (imb y k * (y k - x k)))) in T
    by (intros; ring).
  rewrite sum_opp in T. lra.
Qed.

Lemma gap_nonneg y : 0 <= total y - total x.
Proof. pose proof (balanced_optimal edges units A phi psi convex x balanced_x y). lra. Qed.

Lemma distance_right : filterlim distance2 (at_right 0) (locally (distance2 0)).
Proof.
  apply (sum_filterlim units (fun k t => (h t k - x k) ^ 2)); [apply _|]. intros k Hk.
  apply (comp_filterlim (fun y => (y - x k) ^ 2) (fun t => h t k)); [apply flow, Hk|].
  apply (ex_derive_continuous (fun y => (y - x k) ^ 2)). auto_derive. exact I.
Qed.

(** The distance to each balanced state does not grow ... *)
Theorem flow_distance_falls s t : 0 <= s <= t -> distance2 t <= distance2 s.
Proof.
  apply (nonincreasing distance2 (fun t => - 2 * r * Σ k ∈ units, imb (h t) k * (h t k - x k)));
    [|exact distance_right].
  intros y Hy. split; [apply distance_derivative, Hy|].
  pose proof (gap_below_slope (h y)). pose proof (gap_nonneg (h y)). nra.
Qed.

(** ... and the gap to it (to any state, in fact) is at most |h(0) - x|^2 / (2 r t). *)
Theorem flow_gap t : 0 <= t -> 2 * r * t * (total (h t) - total x) <= distance2 0.
Proof.
  intros Ht.
  set (lyapunov := fun t => distance2 t + 2 * r * (t * (total (h t) - total x))).
  assert (L : lyapunov t <= lyapunov 0).
  { apply (nonincreasing lyapunov (fun t => - 2 * r * (Σ k ∈ units, imb (h t) k * (h t k - x k))
      + 2 * r * ((total (h t) - total x) + t * (- r * Σ k ∈ units, imb (h t) k ^ 2)))); [| |lra].
    - intros y Hy. split.
      + unfold lyapunov. apply (is_derive_plus distance2); [apply distance_derivative, Hy|].
        apply (is_derive_scal (fun t => t * (total (h t) - total x))). evar_last.
        * apply (is_derive_mult (fun t => t) (fun t => total (h t) - total x)).
          -- apply @is_derive_id.
          -- apply @is_derive_minus; [apply flow_cost_derivative, Hy|apply @is_derive_const].
          -- intros; apply Rmult_comm.
        * unfold plus, mult, one, minus, opp, zero; simpl; unfold plus, opp, zero; simpl. ring.
      + pose proof (gap_below_slope (h y)). pose proof (squares_nonneg (h y)).
        assert (0 <= y * (r * (Σ k ∈ units, imb (h y) k ^ 2))) by (repeat apply Rmult_le_pos; lra).
        nra.
    - unfold lyapunov. eapply (filterlim_comp_2 distance2 (fun t => 2 * r * (t * (total (h t) - total x))) Rplus).
      + exact distance_right.
      + apply scal_filterlim; [apply _|]. apply mult_filterlim; [apply _| |].
        * intros P HP. apply filter_le_within, HP.
        * apply (comp_filterlim (fun y => y - total x) (fun t => total (h t))); [exact total_right|].
          apply (ex_derive_continuous (fun y => y - total x)). auto_derive. exact I.
      + apply (filterlim_plus (distance2 0) (2 * r * (0 * (total (h 0) - total x)))). }
  unfold lyapunov in L. assert (0 <= distance2 t) by (apply sum_nonneg; intros; apply pow2_ge_0).
  rewrite Rmult_0_l, Rmult_0_r in L. lra.
Qed.

(** So the cost tends to its minimum, *)
Theorem flow_cost_converges : is_lim (fun t => total (h t)) p_infty (total x).
Proof.
  apply is_lim_spec. intros [eps Heps]. simpl.
  exists (distance2 0 / (2 * r * eps) + 1). intros t Ht.
  assert (D0 : 0 <= distance2 0) by (apply sum_nonneg; intros; apply pow2_ge_0).
  assert (Hre : 0 < 2 * r * eps) by nra.
  assert (Q : 0 <= distance2 0 / (2 * r * eps)) by (apply Rdiv_le_0_compat; lra).
  pose proof (flow_gap t ltac:(lra)) as G. pose proof (gap_nonneg (h t)) as G0.
  rewrite Rabs_pos_eq by exact G0.
  apply Rnot_le_lt. intros N.
  assert (X : distance2 0 < 2 * r * eps * t).
  { apply Rmult_lt_reg_r with (/ (2 * r * eps)); [apply Rinv_0_lt_compat, Hre|].
    replace (2 * r * eps * t * / (2 * r * eps)) with t by (field; lra). unfold Rdiv in *. lra. }
  assert (2 * r * t * eps <= 2 * r * t * (total (h t) - total x)); [|lra].
  apply Rmult_le_compat_l; [nra|exact N].
Qed.

(** A weight that stays away from its balanced value costs at least some g > 0. *)
Lemma weight_gap e eps : In e edges -> 0 < eps -> exists g, 0 < g /\ forall y,
  eps <= Rabs (scale y e - scale x e) -> g <= total y - total x.
Proof.
  intros He Heps. destruct (convex e He) as [_ Inc]. set (v := scale x e).
  set (g := Rmin ((psi e (v + eps / 2) - psi e v) * (eps / 2)) ((psi e v - psi e (v - eps / 2)) * (eps / 2))).
  assert (Hl : psi e (v - eps / 2) < psi e v) by (apply Inc; lra).
  assert (Hr : psi e v < psi e (v + eps / 2)) by (apply Inc; lra).
  exists g. split; [apply Rmin_pos; nra|]. intros y Hy.
  assert (T : g <= phi e (scale y e) - phi e v - psi e v * (scale y e - v)).
  { unfold g. destruct (Rle_dec v (scale y e)).
    - rewrite Rabs_pos_eq in Hy by (unfold v in *; lra). eapply Rle_trans; [apply Rmin_l|].
      pose proof (tangent_gap edges phi psi convex e v (v + eps / 2) (scale y e) He).
      assert ((psi e (v + eps / 2) - psi e v) * (eps / 2)
        <= (psi e (v + eps / 2) - psi e v) * (scale y e - (v + eps / 2))); [|lra].
      apply Rmult_le_compat_l; unfold v in *; lra.
    - rewrite Rabs_left in Hy by (unfold v in *; lra). eapply Rle_trans; [apply Rmin_r|].
      pose proof (tangent_gap edges phi psi convex e v (v - eps / 2) (scale y e) He).
      assert ((psi e v - psi e (v - eps / 2)) * (eps / 2)
        <= (psi e v - psi e (v - eps / 2)) * (v - eps / 2 - scale y e)); [|lra].
      apply Rmult_le_compat_l; unfold v in *; lra. }
  eapply Rle_trans; [exact T|]. unfold v.
  pose proof (sum_term edges (fun e => phi e (scale y e) - phi e (scale x e)
    - psi e (scale x e) * (scale y e - scale x e)) e) as S. simpl in S.
  eapply Rle_trans; [apply S; [|exact He]|].
  - intros e' He'. pose proof (tangent edges phi psi convex e' (scale x e') (scale y e') He'). lra.
  - rewrite !sum_minus.
    rewrite (sum_ext edges (fun e => psi e (scale x e) * (scale y e - scale x e))
      (fun e => psi e (scale x e) * scale (fun k => y k - x k) e))
      by (intros; rewrite log_scale_minus; reflexivity).
    rewrite (slope edges units A psi x (fun k => y k - x k)), (sum_zero units)
      by (intros k Hk; rewrite (balanced_x k Hk); ring).
    unfold total_cost. lra.
Qed.

(** [S.convergence]: and every weight tends to its balanced value. *)
Theorem flow_converges_to e : In e edges ->
  is_lim (fun t => scale (h t) e) p_infty (scale x e).
Proof.
  intros He. apply is_lim_spec. intros [eps Heps]. simpl.
  destruct (weight_gap e eps He Heps) as (g & Hg & Hgap).
  pose proof flow_cost_converges as L. apply is_lim_spec in L.
  destruct (L (mkposreal g Hg)) as [T HT]. simpl in HT. exists T. intros t Ht. specialize (HT t Ht).
  apply Rnot_le_lt. intros N. specialize (Hgap (h t) N). rewrite Rabs_pos_eq in HT; lra.
Qed.

End Solution.

(** Where a circulation uses every weight, a balanced state exists, and every solution ends in its weights. *)
Theorem flow_converges (eq_dec : forall j k : U, {j = k} + {j <> k}) :
  NoDup units -> (forall e (t : R), In e edges -> continuous (psi e) t) -> coercive_costs edges phi ->
  circulation edges units A ->
  exists x, balanced edges units A psi x /\ forall r h, 0 < r -> gradient_flow r h ->
    is_lim (fun t => total (h t)) p_infty (total x) /\
    forall e, In e edges -> is_lim (fun t => scale (h t) e) p_infty (scale x e).
Proof.
  intros Hu smooth coercive circ.
  destruct (balanced_exists eq_dec edges units A phi psi Hu convex smooth coercive circ) as (x & Hx).
  exists x. split; [exact Hx|]. intros r h Hr Hf. split.
  - apply (flow_cost_converges r h Hr Hf x Hx).
  - apply (flow_converges_to r h Hr Hf x Hx).
Qed.

End Flow.

(** ** The rule for the weights *)

Lemma apow_continuous p x : 0 < p -> continuous (fun w => apow w p) x.
Proof.
  intros Hp. destruct (Req_dec x 0) as [->|Hx].
  - apply (bipu_continuous_at_zero p); [|left; exact Hp]. intros l y Hl. apply apow_scale, Hl.
  - apply continuous_ext_loc with (fun w => exp (p * ln (Rabs w))).
    + exists (mkposreal (Rabs x) (Rabs_pos_lt x Hx)). intros y Hy. unfold apow, Rpower.
      destruct (Req_EM_T y 0) as [->|]; [exfalso|reflexivity].
      unfold ball in Hy. simpl in Hy. unfold AbsRing_ball, abs, minus, plus, opp in Hy. simpl in Hy.
      rewrite Rplus_0_l, Rabs_Ropp in Hy. lra.
    + apply (continuous_comp (fun w => p * ln (Rabs w)) exp); [|apply continuous_exp].
      apply (continuous_scal_r p (fun w => ln (Rabs w))).
      apply (continuous_comp Rabs ln); [apply continuous_Rabs|].
      apply (ex_derive_continuous ln). exists (/ Rabs x). apply is_derive_ln, Rabs_pos_lt, Hx.
Qed.

(** From continuity at 0 from the right to continuity everywhere. *)
Lemma continuous_from_zero (f : R -> R) :
  filterlim f (at_right 0) (locally (f 0)) -> (forall t, 0 < t -> continuous f t) ->
  forall s, continuous (fun t => f (Rmax 0 t)) s.
Proof.
  intros H0 H s. destruct (Rtotal_order s 0) as [Hs|[->|Hs]].
  - apply continuous_ext_loc with (fun _ => f 0); [|apply continuous_const].
    exists (mkposreal (- s) ltac:(lra)). intros y Hy. apply Rabs_lt_between' in Hy. simpl in Hy.
    rewrite Rmax_left by lra. reflexivity.
  - intros P HP. rewrite (Rmax_left 0 0) in HP by lra. destruct (H0 P HP) as [d Hd].
    exists d. intros y Hy. destruct (Rle_dec y 0).
    + rewrite Rmax_left by assumption. apply locally_singleton, HP.
    + rewrite Rmax_right by lra. apply Hd; [exact Hy|lra].
  - apply continuous_ext_loc with f; [|apply H, Hs].
    exists (mkposreal s Hs). intros y Hy. apply Rabs_lt_between' in Hy. simpl in Hy.
    rewrite Rmax_right by lra. reflexivity.
Qed.

Section Rule.
Context {E U : Type}.
Variables (edges : list E) (units : list U) (A : E -> U -> R) (alpha : E -> R) (p tau : R).

Notation scale := (log_scale units A).

(** A^T c, with the costs c = alpha |w|^p: for a unit of degree 1, what comes in less what goes out. *)
Definition excess (w : E -> R) (k : U) : R := Σ e ∈ edges, A e k * (alpha e * apow (w e) p).

Definition cost_sum (w : E -> R) : R := Σ e ∈ edges, alpha e * apow (w e) p.

(** tau dw_e/dt = - (A A^T c)_e w_e for t > 0, and w is continuous at 0 from the right. *)
Definition local_rule (w : R -> E -> R) : Prop :=
  forall e, In e edges -> filterlim (fun t => w t e) (at_right 0) (locally (w 0 e)) /\
    forall t, 0 < t -> is_derive (fun s => w s e) t (- / tau * scale (excess (w t)) e * w t e).

Hypothesis p_pos : 0 < p.

(** A solution rescales the first weights, with log-scales that follow tau dh/dt = - A^T c. *)
Theorem rule_rescales w : local_rule w -> exists h : R -> U -> R,
  (forall k, h 0 k = 0) /\
  (forall k, filterlim (fun t => h t k) (at_right 0) (locally (h 0 k))) /\
  (forall k t, 0 < t -> is_derive (fun s => h s k) t (- / tau * excess (w t) k)) /\
  forall t e, 0 <= t -> In e edges -> w t e = exp (scale (h t) e) * w 0 e.
Proof.
  intros Hw.
  set (f := fun k s => - / tau * excess (w (Rmax 0 s)) k).
  assert (Cf : forall k s, continuous (f k) s).
  { intros k s. apply (continuous_scal_r (- / tau) (fun s => excess (w (Rmax 0 s)) k)).
    apply (sum_continuous edges (fun e s => A e k * (alpha e * apow (w (Rmax 0 s) e) p))). intros e He.
    apply (continuous_scal_r (A e k) (fun s => alpha e * apow (w (Rmax 0 s) e) p)).
    apply (continuous_scal_r (alpha e) (fun s => apow (w (Rmax 0 s) e) p)).
    apply (continuous_comp (fun s => w (Rmax 0 s) e) (fun x => apow x p)); [|apply apow_continuous, p_pos].
    apply (continuous_from_zero (fun s => w s e)); [apply Hw, He|].
    intros t Ht. apply (ex_derive_continuous (fun s => w s e)). eexists. apply Hw; assumption. }
  set (h := fun t k => RInt (f k) 0 t).
  assert (Dh : forall k t, is_derive (fun s => h s k) t (f k t)).
  { intros k t. apply (is_derive_RInt (f k) (fun s => h s k) 0 t); [|apply Cf].
    apply filter_forall. intros s. unfold h. apply (RInt_correct (f k)), ex_RInt_continuous. intros; apply Cf. }
  assert (H0 : forall k, h 0 k = 0) by (intros k; apply (RInt_point 0 (f k))).
  assert (Rh : forall k, filterlim (fun t => h t k) (at_right 0) (locally (h 0 k))).
  { intros k P HP. apply filter_le_within. revert P HP.
    apply (ex_derive_continuous (fun t => h t k) 0). eexists. apply Dh. }
  assert (Dh' : forall k t, 0 < t -> is_derive (fun s => h s k) t (- / tau * excess (w t) k)).
  { intros k t Ht. evar_last; [apply Dh|]. unfold f. rewrite Rmax_right by lra. reflexivity. }
  exists h. split; [exact H0|split; [exact Rh|split; [exact Dh'|]]].
  intros t e Ht He. destruct (Hw e He) as [Rw Dw].
  set (q := fun t => w t e * exp (- scale (h t) e)).
  assert (Rq : filterlim q (at_right 0) (locally (q 0))).
  { apply mult_filterlim; [apply _|exact Rw|].
    apply (comp_filterlim (fun x => exp (- x)) (fun t => scale (h t) e)).
    - apply (sum_filterlim units (fun k t => A e k * h t k)); [apply _|].
      intros k _. apply scal_filterlim; [apply _|apply Rh].
    - apply (ex_derive_continuous (fun x => exp (- x))). auto_derive. exact I. }
  assert (Dq : forall t, 0 < t -> is_derive q t 0).
  { intros s Hs. unfold q. evar_last.
    - apply (is_derive_mult (fun t => w t e) (fun t => exp (- scale (h t) e))); [apply Dw, Hs| |].
      + apply (is_derive_comp (fun x => exp (- x)) (fun t => scale (h t) e)).
        * auto_derive; [exact I|reflexivity].
        * apply (sum_derive units (fun k t => A e k * h t k) (fun k => A e k * (- / tau * excess (w s) k))).
          intros k _. apply (is_derive_scal (fun t => h t k)), Dh', Hs.
      + intros; apply Rmult_comm.
    - rewrite (sum_ext units (fun k => A e k * (- / tau * excess (w s) k))
        (fun k => - / tau * (A e k * excess (w s) k))) by (intros; ring).
      rewrite sum_scal. unfold plus, mult, scal; simpl; unfold mult; simpl. unfold log_scale. ring. }
  assert (Q : q t = q 0) by (apply constant_from_zero; assumption).
  unfold q in Q.
  assert (Z : scale (h 0) e = 0) by (apply sum_zero; intros k _; rewrite H0; ring).
  rewrite Z, Ropp_0, exp_0 in Q. rewrite exp_Ropp in Q.
  pose proof (exp_pos (scale (h t) e)). replace (w 0 e) with (w t e * / exp (scale (h t) e)) by lra.
  field. lra.
Qed.

Section Costs.
Variable w0 : E -> R.
Let phi e := power_cost (alpha e * apow (w0 e) p) p.
Let psi e := power_marginal (alpha e * apow (w0 e) p) p.

Lemma cost_at e x y : y = exp x * w0 e -> alpha e * apow y p = phi e x.
Proof. intros ->. rewrite power_cost_is. unfold phi, power_cost. ring. Qed.

Lemma cost_sum_at (h : U -> R) w : (forall e, In e edges -> w e = exp (scale h e) * w0 e) ->
  cost_sum w = total_cost edges units A phi h.
Proof. intros H. apply sum_ext. intros e He. apply cost_at, H, He. Qed.

Lemma excess_at (h : U -> R) w k : (forall e, In e edges -> w e = exp (scale h e) * w0 e) ->
  imbalance edges units A psi h k = p * excess w k.
Proof.
  intros H. unfold imbalance, excess. rewrite <- sum_scal. apply sum_ext. intros e He.
  rewrite (cost_at e _ _ (H e He)). unfold phi, psi, power_cost, power_marginal. ring.
Qed.

End Costs.

(** So it is gradient flow of the cost in the log-scales, at the rate 1/(p tau). *)
Lemma rule_is_flow w (h : R -> U -> R) :
  (forall k, filterlim (fun t => h t k) (at_right 0) (locally (h 0 k))) ->
  (forall k t, 0 < t -> is_derive (fun s => h s k) t (- / tau * excess (w t) k)) ->
  (forall t e, 0 <= t -> In e edges -> w t e = exp (scale (h t) e) * w 0 e) ->
  gradient_flow edges units A (fun e => power_marginal (alpha e * apow (w 0 e) p) p) (/ (p * tau)) h.
Proof.
  intros Rh Dh Hw k Hk. split; [apply Rh|]. intros t Ht.
  rewrite (excess_at (w 0) (h t) (w t) k) by (intros; apply Hw; [lra|assumption]).
  evar_last; [apply Dh, Ht|]. destruct (Req_dec tau 0) as [->|]; [|field; lra].
  rewrite Rmult_0_r. replace (/ 0) with 0 by (symmetry; apply Rinv_0). ring.
Qed.

(** The cost changes at the rate - p |A^T c|^2 / tau. *)
Theorem rule_cost_derivative w t : tau <> 0 -> local_rule w -> 0 < t ->
  is_derive (fun s => cost_sum (w s)) t (- (p / tau) * Σ k ∈ units, excess (w t) k ^ 2).
Proof.
  intros Htau Hw Ht. destruct (rule_rescales w Hw) as (h & _ & Rh & Dh & Hr).
  apply is_derive_ext_loc
    with (fun s => total_cost edges units A (fun e => power_cost (alpha e * apow (w 0 e) p) p) (h s)).
  { exists (mkposreal t Ht). intros s Hs. apply Rabs_lt_between' in Hs. simpl in Hs.
    symmetry. apply cost_sum_at. intros; apply Hr; [lra|assumption]. }
  evar_last.
  - apply (flow_cost_derivative_any edges units A _
      (fun e => power_marginal (alpha e * apow (w 0 e) p) p) (/ (p * tau)) h t); [|apply rule_is_flow; assumption|exact Ht].
    intros e x _. unfold power_cost, power_marginal. auto_derive; [exact I|ring].
  - rewrite <- !sum_scal. apply sum_ext. intros k _.
    rewrite (excess_at (w 0) (h t) (w t) k) by (intros; apply Hr; [lra|assumption]). field. lra.
Qed.

(** [S.convergence] for any network: if some rescaling x of the first weights is balanced, the weights
    converge to it, and the gap of the cost is at most p tau |x|^2 / (2 t). *)
Theorem rule_converges w (x : U -> R) : 0 < tau ->
  (forall e, In e edges -> 0 < alpha e /\ w 0 e <> 0) -> local_rule w ->
  (forall k, In k units -> excess (fun e => exp (scale x e) * w 0 e) k = 0) ->
  (forall e, In e edges -> is_lim (fun t => w t e) p_infty (exp (scale x e) * w 0 e)) /\
  is_lim (fun t => cost_sum (w t)) p_infty (cost_sum (fun e => exp (scale x e) * w 0 e)) /\
  (forall t, 0 <= t -> 2 * t * (cost_sum (w t) - cost_sum (fun e => exp (scale x e) * w 0 e))
    <= p * tau * Σ k ∈ units, x k ^ 2).
Proof.
  intros Htau Hpos Hw Hx. destruct (rule_rescales w Hw) as (h & H0 & Rh & Dh & Hr).
  set (phi := fun e => power_cost (alpha e * apow (w 0 e) p) p).
  set (psi := fun e => power_marginal (alpha e * apow (w 0 e) p) p).
  assert (convex : strictly_convex_costs edges phi psi).
  { apply (power_costs_convex edges (fun e => alpha e * apow (w 0 e) p) (fun _ => p)).
    intros e He. destruct (Hpos e He). split; [|exact p_pos].
    apply Rmult_lt_0_compat; [assumption|apply apow_pos; assumption]. }
  pose proof (rule_is_flow w h Rh Dh Hr) as flow. fold psi in flow.
  assert (bal : balanced edges units A psi x).
  { intros k Hk. unfold psi. rewrite (excess_at (w 0) x (fun e => exp (scale x e) * w 0 e)) by reflexivity.
    rewrite (Hx k Hk). ring. }
  assert (rate : 0 < / (p * tau)) by (apply Rinv_0_lt_compat, Rmult_lt_0_compat; assumption).
  assert (Cx : cost_sum (fun e => exp (scale x e) * w 0 e) = total_cost edges units A phi x)
    by (apply cost_sum_at; reflexivity).
  assert (Ct : forall t, 0 <= t -> cost_sum (w t) = total_cost edges units A phi (h t)).
  { intros t Ht. apply cost_sum_at. intros e He. apply Hr; assumption. }
  split; [|split].
  - intros e He. apply is_lim_ext_loc with (fun t => exp (scale (h t) e) * w 0 e).
    { exists 0. intros t Ht. symmetry. apply Hr; [lra|exact He]. }
    apply (is_lim_scal_r (fun t => exp (scale (h t) e)) (w 0 e) p_infty (exp (scale x e))).
    apply (is_lim_comp_continuous (fun t => scale (h t) e) exp); [|apply continuous_exp].
    apply (flow_converges_to edges units A phi psi convex _ h rate flow x bal e He).
  - rewrite Cx. apply is_lim_ext_loc with (fun t => total_cost edges units A phi (h t)).
    { exists 0. intros t Ht. symmetry. apply Ct. lra. }
    apply (flow_cost_converges edges units A phi psi convex _ h rate flow x bal).
  - intros t Ht. rewrite Cx, Ct by exact Ht.
    pose proof (flow_gap edges units A phi psi convex _ h rate flow x t Ht) as G.
    unfold distance2 in G.
    rewrite (sum_ext units (fun k => (h 0 k - x k) ^ 2) (fun k => x k ^ 2)) in G by (intros; rewrite H0; ring).
    set (gap := total_cost edges units A phi (h t) - total_cost edges units A phi x) in *.
    assert (Hpt : 0 < p * tau) by (apply Rmult_lt_0_compat; assumption).
    apply Rmult_le_compat_l with (r := p * tau) in G; [|lra].
    replace (p * tau * (2 * / (p * tau) * t * gap)) with (2 * t * gap) in G by (field; lra). exact G.
Qed.

End Rule.
