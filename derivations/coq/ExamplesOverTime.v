(** * The hypotheses can be met: gradients, momentum, and recurrent networks over time

    As in [Examples], each set of hypotheses is met by an explicit network. *)

From Coq Require Import Arith.
From Balproof Require Import Examples Sums Homogeneous OptimalScale Balance Convergence Graphs Gap Certificates
  Counterexamples Gradient Stock Momentum Layers Osborne Spectrum Critical Trajectories Laplacian Rate Generic Dense.

(** ** Gradients of products and squares *)

Section Products.
Context {E : Type} (dec : forall d e : E, {d = e} + {d <> e}) (edges : list E).
Hypothesis nodup : NoDup edges.

Lemma sum_term_abs (f : E -> R) e : In e edges -> Rabs (f e) <= Σ e ∈ edges, Rabs (f e).
Proof. intros He. apply (sum_term edges (fun e => Rabs (f e))); [intros; apply Rabs_pos|exact He]. Qed.

Lemma product_gradient a b w : a <> b -> In a edges -> In b edges ->
  has_gradient edges (fun w => w a * w b) w (fun e => (if dec e a then w b else 0) + (if dec e b then w a else 0)).
Proof.
  intros Hab Ha Hb eps Heps. exists eps. split; [exact Heps|]. intros v Hv.
  rewrite (sum_ext edges _ (fun e => (if dec e a then w b * (v e - w e) else 0) + (if dec e b then w a * (v e - w e) else 0)))
    by (intros e _; destruct (dec e a), (dec e b); ring).
  rewrite sum_plus, (sum_pick dec edges (fun e => w b * (v e - w e)) a nodup Ha),
    (sum_pick dec edges (fun e => w a * (v e - w e)) b nodup Hb).
  replace (v a * v b - w a * w b - (w b * (v a - w a) + w a * (v b - w b))) with ((v a - w a) * (v b - w b)) by ring.
  rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [apply Rlt_le, Hv, Ha|].
  apply (sum_term_abs (fun e => v e - w e)), Hb.
Qed.

Lemma square_gradient_at a w : In a edges ->
  has_gradient edges (fun w => w a ^ 2) w (fun e => if dec e a then 2 * w a else 0).
Proof.
  intros Ha eps Heps. exists eps. split; [exact Heps|]. intros v Hv.
  rewrite (sum_ext edges _ (fun e => if dec e a then 2 * w a * (v e - w e) else 0))
    by (intros e _; destruct (dec e a); ring).
  rewrite (sum_pick dec edges (fun e => 2 * w a * (v e - w e)) a nodup Ha).
  replace (v a ^ 2 - w a ^ 2 - 2 * w a * (v a - w a)) with ((v a - w a) * (v a - w a)) by ring.
  rewrite Rabs_mult. apply Rmult_le_compat; try apply Rabs_pos; [apply Rlt_le, Hv, Ha|].
  apply (sum_term_abs (fun e => v e - w e)), Ha.
Qed.
End Products.

Lemma gradient_combination {E : Type} (edges : list E) F G w f g a b : has_gradient edges F w f -> has_gradient edges G w g ->
  has_gradient edges (fun w => a * F w + b * G w) w (fun e => a * f e + b * g e).
Proof.
  intros Hf Hg eps Heps. set (c := Rabs a + Rabs b + 1).
  assert (Hc : 0 < c) by (unfold c; pose proof (Rabs_pos a); pose proof (Rabs_pos b); lra).
  assert (He : 0 < eps / c) by (apply Rdiv_lt_0_compat; assumption).
  destruct (Hf (eps / c) He) as (d1 & Hd1 & H1). destruct (Hg (eps / c) He) as (d2 & Hd2 & H2).
  exists (Rmin d1 d2). split; [apply Rmin_pos; assumption|]. intros v Hv.
  specialize (H1 v (fun e He => Rlt_le_trans _ _ _ (Hv e He) (Rmin_l d1 d2))).
  specialize (H2 v (fun e He => Rlt_le_trans _ _ _ (Hv e He) (Rmin_r d1 d2))).
  rewrite (sum_ext edges _ (fun e => a * (f e * (v e - w e)) + b * (g e * (v e - w e)))) by (intros; ring).
  rewrite sum_plus, !sum_scal. set (S := Σ e ∈ edges, Rabs (v e - w e)) in *.
  assert (HS : 0 <= S) by (apply sum_nonneg; intros; apply Rabs_pos).
  set (X := Σ e ∈ edges, f e * (v e - w e)) in *. set (Y := Σ e ∈ edges, g e * (v e - w e)) in *.
  replace (a * F v + b * G v - (a * F w + b * G w) - (a * X + b * Y))
    with (a * (F v - F w - X) + b * (G v - G w - Y)) by ring.
  eapply Rle_trans; [apply Rabs_triang|]. rewrite !Rabs_mult.
  apply Rle_trans with (Rabs a * (eps / c * S) + Rabs b * (eps / c * S)).
  - apply Rplus_le_compat; apply Rmult_le_compat_l; try apply Rabs_pos; assumption.
  - apply Rle_trans with (c * (eps / c * S)).
    + rewrite <- Rmult_plus_distr_r. apply Rmult_le_compat_r; [|unfold c; lra].
      apply Rmult_le_pos; lra.
    + apply Req_le. field. lra.
Qed.

Lemma gradient_ext {E : Type} (edges : list E) F w f g : has_gradient edges F w f ->
  (forall e, In e edges -> f e = g e) -> has_gradient edges F w g.
Proof.
  intros H Hfg eps Heps. destruct (H eps Heps) as (d & Hd & B). exists d. split; [exact Hd|]. intros v Hv.
  rewrite (sum_ext edges (fun e => g e * (v e - w e)) (fun e => f e * (v e - w e)))
    by (intros; rewrite Hfg by assumption; reflexivity). apply B, Hv.
Qed.

(** Functions that agree near w have the same gradient. *)
Lemma gradient_near {E : Type} (edges : list E) F G w f d : 0 < d -> has_gradient edges G w f ->
  (forall v, (forall e, In e edges -> Rabs (v e - w e) < d) -> F v = G v) -> has_gradient edges F w f.
Proof.
  intros Hd H Hfg eps Heps. destruct (H eps Heps) as (d' & Hd' & B).
  exists (Rmin d d'). split; [apply Rmin_pos; assumption|]. intros v Hv. rewrite !Hfg.
  - apply B. intros e He. eapply Rlt_le_trans; [apply Hv, He|apply Rmin_r].
  - intros e _. rewrite Rminus_eq_0, Rabs_R0. exact Hd.
  - intros e He. eapply Rlt_le_trans; [apply Hv, He|apply Rmin_l].
Qed.

Notation pair := [0; 1]%nat.

Lemma pair_nodup : NoDup pair.
Proof. repeat constructor; simpl; intuition congruence. Qed.

Lemma pair_invariant : invariant [0%nat] one_unit pair_error.
Proof. apply flow_never_balances. Qed.

(** ** Momentum *)

Definition pair_slope (w : nat -> R) (e : nat) : R := match e with 0%nat => w 1%nat | _ => w 0%nat end.

Fact momentum_runs : exists w m, momentum_steps pair pair_error (1 / 2) (1 / 10) (1 / 10) w m /\
  w 0%nat 0%nat = 1 /\ w 0%nat 1%nat = 2.
Proof.
  pose (run := fix run n : (nat -> R) * (nat -> R) := match n with
    | O => (fun e => match e with 0%nat => 1 | _ => 2 end, fun _ => 0)
    | S k => let '(w, m) := run k in
             let m' := fun e => 1 / 2 * m e + pair_slope w e + 1 / 10 * w e in (fun e => w e - 1 / 10 * m' e, m')
    end).
  exists (fun n => fst (run n)), (fun n => snd (run n)). split; [split; [reflexivity|]|split; reflexivity].
  intros n. exists (pair_slope (fst (run n))). split; [apply pair_error_gradient|]. intros e _. simpl.
  destruct (run n) as [w m]. simpl. split; ring.
Qed.

Fact inertial_flow_exists : inertial_flow pair pair_error 3 1 (-1) 1 (fun t _ => exp (- t)) (fun t _ => - exp (- t)).
Proof.
  intros t _. eexists. split; [apply pair_error_gradient|]. intros e He.
  destruct He as [<-|[<-|[]]]; (split; (auto_derive; [exact I|ring])).
Qed.

(** Motion on a circle under |w|^2 / 2: the angular momentum is 1 for ever. *)
Definition rotation (e d : nat) : R := match e, d with 0%nat, 1%nat => -1 | 1%nat, 0%nat => 1 | _, _ => 0 end.
Definition circle (t : R) (e : nat) : R := match e with 0%nat => cos t | _ => sin t end.
Definition circle_speed (t : R) (e : nat) : R := match e with 0%nat => - sin t | _ => cos t end.

Fact circle_flow : let Err := fun w : nat -> R => 1 / 2 * w 0%nat ^ 2 + 1 / 2 * w 1%nat ^ 2 in
  inertial_flow pair Err 0 0 (-1) 1 circle circle_speed /\
  (forall t g, has_gradient pair Err (circle t) g -> paired pair rotation g (circle t) = 0) /\
  paired pair rotation (circle_speed 0) (circle 0) = 1.
Proof.
  intros Err. split; [|split].
  - intros t _. exists (circle t). split.
    + eapply gradient_ext.
      * apply gradient_combination; apply (square_gradient_at Nat.eq_dec); try apply pair_nodup; simpl; tauto.
      * intros e [<-|[<-|[]]]; simpl; field.
    + intros e [<-|[<-|[]]]; simpl; split; (auto_derive; [exact I|ring]).
  - intros t g Hg.
    assert (D1 : is_derive (fun s => Err (circle s)) t (Σ e ∈ pair, g e * circle_speed t e)).
    { apply (chain_rule pair Err circle t g (circle_speed t) Hg).
      intros e [<-|[<-|[]]]; simpl; (auto_derive; [exact I|ring]). }
    assert (D2 : is_derive (fun s => Err (circle s)) t 0).
    { apply is_derive_ext with (fun _ => 1 / 2); [|apply @is_derive_const]. intros s. unfold Err, circle.
      pose proof (sin2_cos2 s) as X. unfold Rsqr in X.
      change (1 / 2 = 1 / 2 * cos s ^ 2 + 1 / 2 * sin s ^ 2). lra. }
    rewrite <- (is_derive_unique _ _ _ D2), (is_derive_unique _ _ _ D1).
    unfold paired, rotation, circle, circle_speed. simpl. ring.
  - unfold paired, rotation, circle, circle_speed. simpl. rewrite cos_0, sin_0. ring.
Qed.

(** ** Layers *)

(** Two linear hidden units between an input and an output, with the output for the input 1 as the error. *)
Notation net_112 := (all_weights (F := unit) [true; false] [tt] [tt] []).
Definition linear_output (w : weight bool unit unit unit -> R) : R :=
  1 * (w (above tt true) * w (below true tt)) + 1 * (w (above tt false) * w (below false tt)).
Definition linear_flow (t : R) (e : weight bool unit unit unit) : R :=
  match e with
  | below true _ => 2 * exp (- t) + exp t
  | above _ true => 2 * exp (- t) - exp t
  | _ => exp (- t)
  end.

Lemma weight_dec : forall d e : weight bool unit unit unit, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

Fact linear_layers : through_product [true; false] [tt] [tt] [] linear_output /\
  flow net_112 linear_output 0 (-1) 1 linear_flow /\
  layer_matrix [tt] [tt] (linear_flow 0) true true = 8.
Proof.
  split; [|split].
  - intros w w' H _. specialize (H tt tt (or_introl eq_refl) (or_introl eq_refl)). simpl in H.
    unfold linear_output. lra.
  - intros t _. eexists. split.
    + apply gradient_combination; apply (product_gradient weight_dec); try discriminate; simpl; try tauto;
        repeat constructor; simpl; intuition congruence.
    + intros e He. simpl in He. destruct He as [<-|[<-|[<-|[<-|[]]]]]; unfold linear_flow;
        repeat (destruct (weight_dec _ _); [discriminate|]);
        (auto_derive; [exact I|]);
        repeat match goal with |- context [weight_dec ?x ?y] => destruct (weight_dec x y); try congruence end; ring.
  - unfold layer_matrix, linear_flow. simpl. rewrite Ropp_0, exp_0. ring.
Qed.

(** One hidden unit, as a layer. *)
Lemma edge_pair_dec : forall d e : option nat * option nat, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

Definition layer_flow (t : R) (e : option nat * option nat) : R :=
  match e with (None, _) => 2 * exp (- t) + exp t | _ => 2 * exp (- t) - exp t end.

Fact layer_of_one : let Err := fun w : option nat * option nat -> R => w (None, Some 0%nat) * w (Some 0%nat, None) in
  invariant [0%nat] matrix Err /\ flow one_hidden Err 0 (-1) 1 layer_flow /\
  layer_difference Nat.eq_dec one_hidden fst snd [0%nat] (layer_flow 0) = 8.
Proof.
  intros Err. split; [|split].
  - intros h w. unfold Err, act, log_scale, matrix, incidence, at_unit. simpl.
    replace ((1 - 0) * h 0%nat + 0) with (h 0%nat) by ring. replace ((0 - 1) * h 0%nat + 0) with (- h 0%nat) by ring.
    rewrite exp_Ropp. field. apply Rgt_not_eq, exp_pos.
  - intros t _. eexists. split.
    + apply (product_gradient edge_pair_dec); [|discriminate|simpl; tauto|simpl; tauto].
      repeat constructor; simpl; intuition congruence.
    + intros e He. simpl in He. destruct He as [<-|[<-|[]]]; unfold layer_flow; (auto_derive; [exact I|]);
        repeat match goal with |- context [edge_pair_dec ?x ?y] => destruct (edge_pair_dec x y); try congruence end; ring.
  - unfold layer_difference, layer_flow, in_layer. simpl. rewrite Ropp_0, exp_0. ring.
Qed.

(** ** Descent on error plus regularizer *)

(** - w_0 w_1 + (w_0^2 + w_1^2) / 2: from (2, 0) steps of 1/2 end in (1, 1). *)
Definition lone_error (w : nat -> R) : R := -1 * pair_error w + 0 * pair_error w.
Definition lone_slope (w : nat -> R) (e : nat) : R := - pair_slope w e.
Definition half_squares (w : nat -> R) : R := 1 / 2 * w 0%nat ^ 2 + 1 / 2 * w 1%nat ^ 2.

Lemma half_squares_gradient w : has_gradient pair half_squares w w.
Proof.
  eapply gradient_ext.
  - apply gradient_combination; apply (square_gradient_at Nat.eq_dec); try apply pair_nodup; simpl; tauto.
  - intros e [<-|[<-|[]]]; simpl; field.
Qed.

Lemma lone_error_gradient w : has_gradient pair lone_error w (lone_slope w).
Proof.
  eapply gradient_ext; [apply gradient_combination; apply pair_error_gradient|].
  intros e [<-|[<-|[]]]; simpl; unfold lone_slope, pair_slope; ring.
Qed.

Lemma near_pair (x : nat -> R) (G : (nat -> R) -> nat -> R) F : (forall v, has_gradient pair F v (G v)) ->
  (forall v, (Rabs (G v 0%nat - G x 0%nat) <= Rabs (v 0%nat - x 0%nat) + Rabs (v 1%nat - x 1%nat)) /\
    Rabs (G v 1%nat - G x 1%nat) <= Rabs (v 0%nat - x 0%nat) + Rabs (v 1%nat - x 1%nat)) -> smooth_near pair F G x.
Proof.
  intros HG HL. split; [exists 1; split; [lra|intros; apply HG]|].
  intros eps Heps. exists (eps / 2). split; [lra|]. intros v Hv e He.
  pose proof (Hv 0%nat ltac:(simpl; tauto)). pose proof (Hv 1%nat ltac:(simpl; tauto)). destruct (HL v).
  destruct He as [<-|[<-|[]]]; lra.
Qed.

Fact descent_converges : exists w x, let one := fun _ : nat => 1 in
  invariant [0%nat] one_unit lone_error /\ smooth_near pair lone_error lone_slope x /\
  smooth_near pair half_squares (fun w => w) x /\
  (forall n e, In e pair -> w (S n) e = w n e - 1 / 2 * (lone_slope (w n) e + w n e)) /\
  (forall e, In e pair -> is_lim_seq (fun n => w n e) (x e)) /\ w 0%nat 0%nat = 2 /\ x 0%nat = 1.
Proof.
  exists (fun n e => match n, e with O, 0%nat => 2 | O, _ => 0 | _, _ => 1 end), (fun _ => 1).
  split; [|split; [|split; [|split; [|split; [|split]]]]]; try reflexivity.
  - intros h w. unfold lone_error. rewrite (pair_invariant h w). reflexivity.
  - apply near_pair; [apply lone_error_gradient|]. intros v. unfold lone_slope, pair_slope.
    replace (- v 1%nat - - (1)) with (- (v 1%nat - 1)) by ring. replace (- v 0%nat - - (1)) with (- (v 0%nat - 1)) by ring.
    rewrite !Rabs_Ropp. pose proof (Rabs_pos (v 0%nat - 1)). pose proof (Rabs_pos (v 1%nat - 1)). lra.
  - apply near_pair; [apply half_squares_gradient|]. intros v.
    pose proof (Rabs_pos (v 0%nat - 1)). pose proof (Rabs_pos (v 1%nat - 1)). lra.
  - intros [|n] e [<-|[<-|[]]]; unfold lone_slope, pair_slope; simpl; field.
  - intros e _. apply is_lim_seq_ext_loc with (fun _ => 1); [|apply is_lim_seq_const].
    exists 1%nat. intros [|n] Hn; [lia|]. reflexivity.
Qed.

(** A kink: 4 |w_0 w_1 - 1| + w_0^2 + w_1^2 at (1, 1), where 0 = (-2, -2) + (2, 2). *)
Definition kinked (w : nat -> R) : R := 4 * Rabs (w 0%nat * w 1%nat - 1).

Lemma kinked_gradient (s : R) (w : nat -> R) : Rabs s = 1 -> 0 < s * (w 0%nat * w 1%nat - 1) ->
  has_gradient pair kinked w (fun e => 4 * s * pair_slope w e).
Proof.
  intros Hs Hw. set (r := s * (w 0%nat * w 1%nat - 1)) in *. set (K := Rabs (w 0%nat) + Rabs (w 1%nat) + 1).
  assert (HK : 1 <= K) by (unfold K; pose proof (Rabs_pos (w 0%nat)); pose proof (Rabs_pos (w 1%nat)); lra).
  apply (gradient_near pair kinked (fun w => (4 * s) * pair_error w + (-4 * s) * 1) w _ (Rmin 1 (r / K))).
  - apply Rmin_pos; [lra|]. apply Rdiv_lt_0_compat; lra.
  - eapply gradient_ext.
    + apply gradient_combination; [apply pair_error_gradient|].
      instantiate (1 := fun _ => 0). intros eps Heps. exists 1. split; [lra|]. intros v _.
      rewrite sum_zero by (intros; ring). rewrite !Rminus_eq_0, Rabs_R0.
      apply Rmult_le_pos; [lra|apply sum_nonneg; intros; apply Rabs_pos].
    + intros e _. unfold pair_slope. ring.
  - intros v Hv. pose proof (Hv 0%nat ltac:(simpl; tauto)) as H0. pose proof (Hv 1%nat ltac:(simpl; tauto)) as H1.
    pose proof (Rmin_l 1 (r / K)). pose proof (Rmin_r 1 (r / K)).
    assert (P : Rabs (v 0%nat * v 1%nat - w 0%nat * w 1%nat) < r).
    { replace (v 0%nat * v 1%nat - w 0%nat * w 1%nat)
        with (w 1%nat * (v 0%nat - w 0%nat) + (w 0%nat * (v 1%nat - w 1%nat)
          + (v 0%nat - w 0%nat) * (v 1%nat - w 1%nat))) by ring.
      eapply Rle_lt_trans; [apply Rabs_triang|].
      eapply Rle_lt_trans; [apply Rplus_le_compat_l, Rabs_triang|]. rewrite !Rabs_mult.
      set (x := Rabs (v 0%nat - w 0%nat)) in *. set (y := Rabs (v 1%nat - w 1%nat)) in *.
      assert (0 <= x) by apply Rabs_pos. assert (0 <= y) by apply Rabs_pos.
      assert (Q : K * Rmin 1 (r / K) <= r).
      { apply Rle_trans with (K * (r / K)); [apply Rmult_le_compat_l; lra|]. apply Req_le. field. lra. }
      set (d := Rmin 1 (r / K)) in *. pose proof (Rabs_pos (w 0%nat)). pose proof (Rabs_pos (w 1%nat)).
      apply Rlt_le_trans with (K * d); [|exact Q]. unfold K.
      assert (Rabs (w 1%nat) * x <= Rabs (w 1%nat) * d) by (apply Rmult_le_compat_l; lra).
      assert (Rabs (w 0%nat) * y <= Rabs (w 0%nat) * d) by (apply Rmult_le_compat_l; lra).
      assert (x * y < d); [|lra]. apply Rle_lt_trans with (1 * y); [apply Rmult_le_compat_r; lra|lra]. }
    unfold kinked, pair_error. apply Rabs_def2 in P.
    destruct (Rcase_abs s) as [N|N]; [rewrite Rabs_left in Hs by lra|rewrite Rabs_pos_eq in Hs by lra].
    + assert (Es : s = -1) by lra. unfold r in *. rewrite Es in *. rewrite Rabs_left by lra. ring.
    + assert (Es : s = 1) by lra. unfold r in *. rewrite Es in *. rewrite Rabs_pos_eq by lra. ring.
Qed.

Fact clarke_critical : let one := fun _ : nat => 1 in
  clarke pair kinked one (fun e => (1 - 3 / 4) * (4 * 1 * 1) + 3 / 4 * (4 * (-1) * 1)) /\
  clarke pair (fun w => w 0%nat ^ 2 + w 1%nat ^ 2) one (fun _ => 2) /\
  (1 - 3 / 4) * (4 * 1 * 1) + 3 / 4 * (4 * (-1) * 1) + 2 = 0.
Proof.
  intros one. split; [|split; [|field]].
  - assert (Side : forall s, Rabs s = 1 -> clarke pair kinked one (fun _ => 4 * s * 1)).
    { intros s Hs. set (v := fun (n : nat) (_ : nat) => 1 + s * / (INR n + 2)).
      assert (I : forall n, 0 < / (INR n + 2) <= / 2).
      { intros n. pose proof (pos_INR n). split; [apply Rinv_0_lt_compat; lra|apply Rinv_le_contravar; lra]. }
      assert (L : is_lim_seq (fun n => v n 0%nat) 1).
      { unfold v. replace (Finite 1) with (Finite (1 + s * 0)) by (f_equal; ring).
        apply is_lim_seq_plus'; [apply is_lim_seq_const|]. apply (is_lim_seq_scal_l _ s 0).
        replace (Finite 0) with (Rbar_inv p_infty) by reflexivity. apply is_lim_seq_inv; [|discriminate].
        apply is_lim_seq_plus with p_infty 2; [apply is_lim_seq_INR|apply is_lim_seq_const|reflexivity]. }
      apply (clarke_limit pair kinked one v (fun n e => 4 * s * pair_slope (v n) e)).
      - intros n. apply kinked_gradient; [exact Hs|]. unfold v. specialize (I n).
        set (z := / (INR n + 2)) in *. assert (s * s = 1) by (destruct (Rcase_abs s); [rewrite Rabs_left in Hs by lra
          |rewrite Rabs_pos_eq in Hs by lra]; nra).
        replace (s * ((1 + s * z) * (1 + s * z) - 1)) with ((s * s) * (2 * z) + (s * s) * (s * (z * z))) by ring.
        rewrite H. assert (-1 <= s) by (pose proof (Rabs_maj2 s); lra). nra.
      - intros e _. exact L.
      - intros e _. apply (is_lim_seq_scal_l _ (4 * s) 1). destruct e; exact L. }
    apply (clarke_mix pair kinked one (3 / 4) (fun _ => 4 * 1 * 1) (fun _ => 4 * (-1) * 1)); [lra| |].
    + apply Side, Rabs_R1.
    + apply Side. rewrite Rabs_left; lra.
  - apply (clarke_limit pair _ one (fun _ => one) (fun _ _ => 2)).
    + intros _. eapply gradient_ext.
      * apply (gradient_near pair _ (fun w => 1 * w 0%nat ^ 2 + 1 * w 1%nat ^ 2) one _ 1 Rlt_0_1);
          [|intros; ring].
        apply gradient_combination; apply (square_gradient_at Nat.eq_dec); try apply pair_nodup; simpl; tauto.
      * intros e [<-|[<-|[]]]; simpl; unfold one; ring.
    + intros e _. apply is_lim_seq_const.
    + intros e _. apply is_lim_seq_const.
Qed.

(** Two minibatches in turn, 2 w_0 w_1 and w_0 w_1 / 2, with eta = mu = 1: the weights go (1, 2), (-4, -2),
    (1, 2) ... The deficit is - 3 and 12 in turn: its mean is not 0. *)
Definition batch (o : bool) (w : nat -> R) : R := (if o then 2 else 1 / 2) * pair_error w + 0 * pair_error w.
Definition batch_weights (o : bool) (e : nat) : R :=
  match o, e with true, 0%nat => 1 | true, _ => 2 | false, 0%nat => -4 | false, _ => -2 end.
Definition batch_slope (o : bool) (e : nat) : R := (if o then 2 else 1 / 2) * pair_slope (batch_weights o) e.

Fact minibatch_floor : let mean := fun f : bool -> R => (f true + f false) / 2 in
  (forall o, invariant [0%nat] one_unit (batch o)) /\
  (forall o, has_gradient pair (batch o) (batch_weights o) (batch_slope o)) /\
  linear_mean (fun _ => True) mean /\
  (forall o e, In e pair -> stepped batch_weights batch_slope 1 1 o e = batch_weights (negb o) e) /\
  mean (fun o => deficit pair one_unit (squares (batch_weights o)) 0%nat) = 9 / 2.
Proof.
  intros mean. split; [|split; [|split; [|split]]].
  - intros o h w. unfold batch. rewrite (pair_invariant h w). reflexivity.
  - intros o. eapply gradient_ext; [apply gradient_combination; apply pair_error_gradient|].
    intros e _. unfold batch_slope, pair_slope. ring.
  - intros a f b h _ _. split; [exact I|]. unfold mean. field.
  - intros o e He. destruct He as [<-|[<-|[]]], o; unfold stepped, batch_slope, pair_slope, batch_weights; simpl; field.
  - unfold mean, deficit, squares, one_unit, batch_weights. simpl. field.
Qed.

(** ** Recurrent networks *)

(** The two synapses of [Stock]: the determinant stays - 1. *)
Fact two_synapses_determinant t : 0 <= t -> determinant [true; false] (two_synapses t) = -1.
Proof.
  intros Ht. assert (N : NoDup [true; false]) by (repeat constructor; simpl; intuition congruence).
  destruct (rule_conserves Bool.bool_dec [true; false] (fun _ _ => 1) 1 1 two_synapses N Rlt_0_1 two_synapses_solve t Ht)
    as (-> & _). rewrite determinant_two. unfold two_synapses. pose proof (course_pos 0 (Rle_refl 0)).
  field. lra.
Qed.

(** They can be balanced, and Osborne's step applies to them. *)
Fact two_synapses_balanceable : let J := two_synapses 0 in
  (exists x, matrix_balanced [true; false] (fun _ _ => 1) 1 (transformed x J)) /\
  0 < row Bool.bool_dec [true; false] (fun _ _ => 1) 1 J true /\
  0 < column Bool.bool_dec [true; false] (fun _ _ => 1) 1 J true.
Proof.
  intros J. pose proof (course_pos 0 (Rle_refl 0)) as P.
  assert (N : NoDup [true; false]) by (repeat constructor; simpl; intuition congruence).
  split; [|split].
  - apply (balanceable_iff Bool.bool_dec [true; false] (fun _ _ => 1) 1 N Rlt_0_1 (fun _ _ _ _ => Rlt_0_1)).
    assert (Nz : two_synapses 0 true false <> 0 /\ two_synapses 0 false true <> 0).
    { unfold two_synapses. pose proof (Rinv_0_lt_compat _ P). lra. }
    intros [i j] He. apply (synapses_in _ (fun _ _ => 1)) in He as (_ & _ & Hz).
    destruct i, j; try (exfalso; apply Hz; reflexivity); unfold post, pre; simpl; eexists.
    + apply (walk_cons _ pre post (false, true)); [|apply walk_nil].
      apply (synapses_in _ (fun _ _ => 1)). simpl. tauto.
    + apply (walk_cons _ pre post (true, false)); [|apply walk_nil].
      apply (synapses_in _ (fun _ _ => 1)). simpl. tauto.
  - unfold row, synapse_cost. simpl. rewrite apow_one by exact P. lra.
  - unfold column, synapse_cost. simpl. rewrite apow_one by (apply Rinv_0_lt_compat, P).
    pose proof (Rinv_0_lt_compat _ P). lra.
Qed.

(** Their pattern has lam_2 = 4, so |g|^2 falls exponentially. *)
Fact two_synapses_rate : lambda_2 [true; false] (pattern (two_synapses 0)) 4 /\ exists m, 0 < m /\ forall t, 0 <= t ->
  (Σ k ∈ [true; false], unit_imbalance [true; false] (fun _ _ => 1) 1 (two_synapses t) k ^ 2)
  <= (Σ k ∈ [true; false], unit_imbalance [true; false] (fun _ _ => 1) 1 (two_synapses 0) k ^ 2)
     * exp (- (2 * 1 * m * 4 * t / 1)).
Proof.
  assert (N : NoDup [true; false]) by (repeat constructor; simpl; intuition congruence).
  pose proof (course_pos 0 (Rle_refl 0)) as P. pose proof (Rinv_0_lt_compat _ P).
  assert (L : forall v i, weighted_laplacian [true; false] (pattern (two_synapses 0)) v i = 2 * (v i - v (negb i))).
  { intros v i. unfold weighted_laplacian, pattern. simpl.
    repeat match goal with |- context [Req_EM_T ?x 0] => destruct (Req_EM_T x 0); try (exfalso; destruct i; simpl in *; lra) end;
      destruct i; simpl in *; lra || ring. }
  assert (Four : lambda_2 [true; false] (pattern (two_synapses 0)) 4).
  { split; [lra|]. split.
    - exists (fun i : bool => if i then 1 else -1). split; [exists true; simpl; split; [tauto|lra]|].
      intros i _. rewrite L. destruct i; simpl; ring.
    - intros mu v Hmu [(k & _ & Hk) H']. pose proof (H' true ltac:(simpl; tauto)) as A. pose proof (H' false ltac:(simpl; tauto)) as B.
      rewrite L in A, B. simpl in A, B.
      assert (Z : mu * (v true + v false) = 0) by lra. destruct (Rmult_integral _ _ Z) as [|S]; [contradiction|].
      assert (K : v true <> 0) by (intros X; apply Hk; destruct k; lra).
      assert (E : (4 - mu) * v true = 0) by (replace (v false) with (- v true) in A by lra; lra).
      destruct (Rmult_integral _ _ E); [lra|contradiction]. }
  split; [exact Four|].
  apply (imbalance_falls_exponentially Bool.bool_dec [true; false] (fun _ _ => 1) 1 1 N Rlt_0_1 Rlt_0_1
    (fun _ _ _ _ => Rlt_0_1) two_synapses two_synapses_solve 4); [|exact Four].
  apply (balanceable_iff Bool.bool_dec [true; false] (fun _ _ => 1) 1 N Rlt_0_1 (fun _ _ _ _ => Rlt_0_1)).
  apply two_synapses_balanceable.
Qed.

(** A rectified unit driven by an input that jumps, sign(t - 1), has one trajectory. *)
Fact driven_unit : exists x, solution [tt] [tt] (fun _ => relu) (fun _ _ => 1) (fun _ _ => 1) (fun _ => 0)
  (fun _ t => Rabs (t - 1)) x /\ x tt 0 = 2.
Proof.
  destruct (one_solution [tt] [tt] (fun _ => relu) (fun _ => relu_homogeneous) (fun _ _ => 1) (fun _ _ => 1) (fun _ => 0)
    (fun _ t => Rabs (t - 1))) with (start := fun _ : unit => 2) as (x & Hx & H0 & _).
  - intros m t _. apply (continuous_comp (fun t => t - 1) Rabs); [|apply continuous_Rabs].
    apply (ex_derive_continuous (fun t => t - 1)). auto_derive. exact I.
  - exists x. split; [exact Hx|apply H0].
Qed.
(** And there is a lam_2 at their limit, with an eigenvector. *)
Fact two_synapses_generic : let J := two_synapses 0 in exists x lam v,
  matrix_balanced [true; false] (fun _ _ => 1) 1 (transformed x J) /\
  lambda_2 [true; false] (synapse_cost (fun _ _ => 1) 1 (transformed x J)) lam /\
  laplacian_eigenpair [true; false] (synapse_cost (fun _ _ => 1) 1 (transformed x J)) lam v.
Proof.
  intros J. assert (N : NoDup [true; false]) by (repeat constructor; simpl; intuition congruence).
  destruct two_synapses_balanceable as ((x & Hx) & _). exists x.
  destruct (lambda_2_exists Bool.bool_dec [true; false] (fun _ _ => 1) N J (synapse_cost (fun _ _ => 1) 1 (transformed x J)))
    with (i := true) (j := false) as (lam & Hl); try (simpl; tauto); try discriminate.
  - apply (costs_supported [true; false] (fun _ _ => 1) 1 (fun _ _ _ _ => Rlt_0_1)). intros i j _ _. apply transformed_zero.
  - unfold J, two_synapses. pose proof (course_pos 0 (Rle_refl 0)). lra.
  - destruct Hl as (Nz & (v & Hv) & Least). exists lam, v. split; [exact Hx|]. split; [|exact Hv].
    split; [exact Nz|]. split; [exists v; exact Hv|exact Least].
Qed.

