(** * Which activations commute with rescaling

    Claims [B.homogeneous-iff-bilu] and [B.power-iff-bipu] (Propositions 2.2 and 2.3 of [B]). *)

From Balproof Require Import Sums.

(** ** Degree one *)

Definition positively_homogeneous (f : R -> R) : Prop :=
  forall l x, 0 < l -> f (l * x) = l * f x.

(** Bilinear: [a x] for x < 0 and [b x] for x >= 0. *)
Definition BiLU (a b x : R) : R := if Rlt_dec x 0 then a * x else b * x.

(** [B.homogeneous-iff-bilu]. No continuity is needed. *)
Theorem homogeneous_iff_bilu (f : R -> R) :
  positively_homogeneous f <-> exists a b, forall x, f x = BiLU a b x.
Proof.
  unfold BiLU; split.
  - intros H. exists (- f (-1)), (f 1). intros x. destruct (Rlt_dec x 0) as [Hx|Hx].
    + replace x with (- x * -1) at 1 by ring. rewrite H by lra. ring.
    + destruct (Req_dec x 0) as [->|Hx0].
      * pose proof (H 2 0). rewrite Rmult_0_r in *. lra.
      * replace x with (x * 1) at 1 by ring. rewrite H by lra. ring.
  - intros (a & b & Hf) l x Hl. rewrite !Hf.
    destruct (Rlt_dec (l * x) 0), (Rlt_dec x 0); try ring; exfalso; nra.
Qed.

(** The two slopes can be read off at -1 and 1. *)
Theorem bilu_slopes (f : R -> R) :
  positively_homogeneous f -> forall x, f x = BiLU (- f (-1)) (f 1) x.
Proof.
  intros H. destruct (proj1 (homogeneous_iff_bilu f) H) as (a & b & Hf). intros x.
  rewrite (Hf (-1)), (Hf 1), Hf. unfold BiLU.
  destruct (Rlt_dec (-1) 0); [|lra]. destruct (Rlt_dec 1 0); [lra|].
  destruct (Rlt_dec x 0); ring.
Qed.

(** ** Any degree *)

Definition homogeneous_of_degree (c : R) (f : R -> R) : Prop :=
  forall l x, 0 < l -> f (l * x) = Rpower l c * f x.

(** Bipower: [C x^c] for x > 0, [D |x|^c] for x < 0, [z] at 0. *)
Definition BiPU (C D z c x : R) : R :=
  if Rlt_dec 0 x then C * Rpower x c
  else if Rlt_dec x 0 then D * Rpower (- x) c
  else z.

Lemma Rpower_1_base (c : R) : Rpower 1 c = 1.
Proof. unfold Rpower. rewrite ln_1, Rmult_0_r. apply exp_0. Qed.

Lemma Rpower_pos (x c : R) : 0 < Rpower x c.
Proof. apply exp_pos. Qed.

Lemma degree_one (f : R -> R) : homogeneous_of_degree 1 f <-> positively_homogeneous f.
Proof.
  unfold homogeneous_of_degree, positively_homogeneous.
  split; intros H l x Hl; [rewrite H by assumption|rewrite H by assumption];
    rewrite Rpower_1 by assumption; reflexivity.
Qed.

(** [B.power-iff-bipu]. The value at 0 is free for degree 0 and is 0 otherwise. *)
Theorem power_iff_bipu (c : R) (f : R -> R) :
  homogeneous_of_degree c f <->
  exists C D z, (c = 0 \/ z = 0) /\ forall x, f x = BiPU C D z c x.
Proof.
  unfold BiPU; split.
  - intros H. exists (f 1), (f (-1)), (f 0). split.
    + destruct (Req_dec c 0) as [Hc|Hc]; [left; assumption|right].
      pose proof (H (exp 1) 0 (exp_pos 1)) as H0. rewrite Rmult_0_r in H0.
      unfold Rpower in H0. rewrite ln_exp, Rmult_1_r in H0.
      assert (exp c <> 1) by (rewrite <- exp_0; intros E; apply Hc, exp_inv, E).
      assert ((exp c - 1) * f 0 = 0) by lra.
      destruct (Rmult_integral _ _ H2); lra.
    + intros x. destruct (Rlt_dec 0 x) as [Hx|Hx].
      * replace x with (x * 1) at 1 by ring. rewrite H by assumption. ring.
      * destruct (Rlt_dec x 0) as [Hx'|Hx'].
        -- replace x with (- x * -1) at 1 by ring. rewrite H by lra. ring.
        -- replace x with 0 by lra. reflexivity.
  - intros (C & D & z & Hz & Hf) l x Hl. rewrite !Hf.
    destruct (Rlt_dec 0 x) as [Hx|Hx].
    + destruct (Rlt_dec 0 (l * x)); [|exfalso; nra].
      rewrite <- Rpower_mult_distr by assumption. ring.
    + destruct (Rlt_dec 0 (l * x)); [exfalso; nra|].
      destruct (Rlt_dec x 0).
      * destruct (Rlt_dec (l * x) 0); [|exfalso; nra].
        replace (- (l * x)) with (l * - x) by ring.
        rewrite <- Rpower_mult_distr by lra. ring.
      * destruct (Rlt_dec (l * x) 0); [exfalso; nra|].
        destruct Hz as [->| ->]; [rewrite Rpower_O by assumption|]; ring.
Qed.

(** Continuity at 0, by degree. *)
Theorem bipu_continuous_at_zero (c : R) (f : R -> R) :
  homogeneous_of_degree c f ->
  continuous f 0 <-> 0 < c \/ (c = 0 /\ f 1 = f 0 /\ f (-1) = f 0) \/ (forall x, f x = 0).
Proof.
  intros H.
  assert (Hpos : forall x, 0 < x -> f x = Rpower x c * f 1).
  { intros x Hx. rewrite <- H by exact Hx. f_equal. ring. }
  assert (Hneg : forall x, x < 0 -> f x = Rpower (- x) c * f (-1)).
  { intros x Hx. rewrite <- H by lra. f_equal. ring. }
  assert (H0 : c <> 0 -> f 0 = 0).
  { intros Hc. destruct (proj1 (power_iff_bipu c f) H) as (C & D & z & [E|Hz] & Hf); [contradiction|].
    rewrite Hf. unfold BiPU. destruct (Rlt_dec 0 0); [lra|]. exact Hz. }
  split.
  - intros cont. destruct (Rlt_dec 0 c) as [|Hc]; [left; assumption|right].
    (* along x, x/2, x/4, ... the values tend to f 0, and do not become smaller *)
    assert (L : forall x, is_lim_seq (fun n => Rpower ((/ 2) ^ n) c * f x) (f 0)).
    { intros x. apply is_lim_seq_ext with (fun n => f ((/ 2) ^ n * x)).
      { intros n. apply H. apply pow_lt; lra. }
      apply is_lim_seq_continuous; [apply continuity_pt_filterlim, cont|].
      replace (Finite 0) with (Finite (0 * x)) by (f_equal; ring).
      apply (is_lim_seq_scal_r (fun n => (/ 2) ^ n) x 0).
      apply is_lim_seq_geom. rewrite Rabs_pos_eq; lra. }
    destruct (Req_dec c 0) as [->|Hc0].
    + left. split; [reflexivity|].
      assert (X : forall x, f x = f 0).
      { intros x. assert (L' : is_lim_seq (fun _ => f x) (f 0)).
        { apply is_lim_seq_ext with (fun n => Rpower ((/ 2) ^ n) 0 * f x); [|apply L].
          intros n. rewrite Rpower_O by (apply pow_lt; lra). ring. }
        pose proof (is_lim_seq_unique _ _ L') as U. rewrite Lim_seq_const in U. injection U. auto. }
      split; apply X.
    + right. intros x. specialize (L x). rewrite (H0 Hc0) in L.
      apply is_lim_seq_abs in L. simpl in L. rewrite Rabs_R0 in L.
      assert (X : Rbar_le (Rabs (f x)) 0).
      { apply (is_lim_seq_le (fun _ => Rabs (f x)) (fun n => Rabs (Rpower ((/ 2) ^ n) c * f x)) (Rabs (f x)) 0);
          [|apply is_lim_seq_const|exact L].
        intros n. rewrite Rabs_mult, (Rabs_pos_eq (Rpower _ _)) by apply Rlt_le, Rpower_pos.
        rewrite <- (Rmult_1_l (Rabs (f x))) at 1. apply Rmult_le_compat_r; [apply Rabs_pos|].
        rewrite <- (Rpower_O ((/ 2) ^ n)) by (apply pow_lt; lra). unfold Rpower.
        assert (P : 0 < (/ 2) ^ n <= 1).
        { split; [apply pow_lt; lra|]. rewrite <- (pow1 n). apply pow_incr. lra. }
        assert (ln ((/ 2) ^ n) <= 0) by (rewrite <- ln_1; apply ln_le; lra).
        rewrite Rmult_0_l. destruct (Req_dec (c * ln ((/ 2) ^ n)) 0) as [->|]; [lra|].
        apply Rlt_le, exp_increasing. nra. }
      simpl in X. pose proof (Rabs_pos (f x)). apply Rabs_eq_0. lra.
  - intros [Hc|[(-> & E1 & E2)|Z]].
    + apply filterlim_locally. intros [eps Heps].
      set (K := Rabs (f 1) + Rabs (f (-1)) + 1).
      pose proof (Rabs_pos (f 1)). pose proof (Rabs_pos (f (-1))).
      assert (HK : 0 < eps / K) by (apply Rdiv_lt_0_compat; unfold K; lra).
      exists (mkposreal (Rpower (eps / K) (/ c)) (Rpower_pos _ _)). intros x Hx.
      unfold ball in *; simpl in *; unfold AbsRing_ball, abs, minus, plus, opp in *; simpl in *.
      rewrite Ropp_0, Rplus_0_r in Hx. rewrite (H0 ltac:(lra)), Ropp_0, Rplus_0_r.
      destruct (Req_dec x 0) as [->|Hx0]; [rewrite (H0 ltac:(lra)), Rabs_R0; exact Heps|].
      assert (S : Rpower (Rabs x) c < eps / K).
      { replace (eps / K) with (Rpower (Rpower (eps / K) (/ c)) c).
        - apply Rlt_Rpower_l; [exact Hc|]. split; [apply Rabs_pos_lt, Hx0|exact Hx].
        - rewrite Rpower_mult, Rinv_l, Rpower_1 by lra. reflexivity. }
      assert (B : Rabs (f x) <= Rpower (Rabs x) c * K).
      { pose proof (Rpower_pos (Rabs x) c) as P. destruct (Rlt_dec 0 x) as [Hp|Hn].
        - rewrite Hpos, Rabs_mult, (Rabs_pos_eq x), (Rabs_pos_eq (Rpower x c)) in * by
            (try exact Hp; try lra; apply Rlt_le, Rpower_pos).
          apply Rmult_le_compat_l; unfold K; lra.
        - rewrite Hneg, Rabs_mult, (Rabs_left x), (Rabs_pos_eq (Rpower (- x) c)) in * by
            (try lra; apply Rlt_le, Rpower_pos).
          apply Rmult_le_compat_l; unfold K; lra. }
      eapply Rle_lt_trans; [exact B|].
      assert (0 < K) by (unfold K; lra).
      apply Rmult_lt_compat_r with (r := K) in S; [|assumption].
      replace (eps / K * K) with eps in S by (field; lra). exact S.
    + apply continuous_ext with (fun _ => f 0); [|apply continuous_const].
      intros x. destruct (Rtotal_order x 0) as [Hx|[->|Hx]]; [|reflexivity|].
      * rewrite (Hneg x Hx), Rpower_O, E2 by lra. symmetry. apply Rmult_1_l.
      * rewrite (Hpos x Hx), Rpower_O, E1 by lra. symmetry. apply Rmult_1_l.
    + apply continuous_ext with (fun _ => 0); [intros x; symmetry; apply Z|apply continuous_const].
Qed.

(** ** No other law of scaling *)

(** A function on the line that turns sums into sums and is continuous at 0 is linear. *)
Lemma additive_linear (L : R -> R) :
  (forall s t, L (s + t) = L s + L t) -> continuous L 0 -> forall t, L t = L 1 * t.
Proof.
  intros add cont.
  assert (L0 : L 0 = 0) by (pose proof (add 0 0); rewrite Rplus_0_r in *; lra).
  assert (Ln : forall n t, L (INR n * t) = INR n * L t).
  { intros n; induction n as [|n IH]; intros t.
    - simpl. rewrite !Rmult_0_l. exact L0.
    - rewrite S_INR, Rmult_plus_distr_r, Rmult_1_l, add, IH. ring. }
  set (D := fun t => L t - L 1 * t).
  assert (Dadd : forall s t, D (s + t) = D s + D t) by (intros; unfold D; rewrite add; ring).
  assert (Dn : forall n t, D (INR n * t) = INR n * D t) by (intros; unfold D; rewrite Ln; ring).
  assert (D0 : D 0 = 0) by (unfold D; rewrite L0; ring).
  assert (Dcont : continuous D 0).
  { apply @continuous_minus; [exact cont|].
    apply (continuous_scal_r (L 1) (fun t : R => t)), continuous_id. }
  assert (Dneg : forall t, D (- t) = - D t).
  { intros t. pose proof (Dadd t (- t)). replace (t + - t) with 0 in * by ring. lra. }
  (* near 0, D is at most 1 *)
  destruct (proj1 (filterlim_locally D (D 0)) Dcont (mkposreal 1 Rlt_0_1)) as [[d Hd] near].
  destruct (archimed_cor1 d Hd) as (N & HN & HN0).
  assert (HNpos : 0 < INR N) by (apply lt_0_INR; exact HN0).
  (* D vanishes at multiples of 1/N, so it is at most 1 everywhere *)
  assert (D1N : D (/ INR N) = 0).
  { pose proof (Dn N (/ INR N)) as H. rewrite Rinv_r in H by lra.
    assert (D 1 = 0) by (unfold D; ring). rewrite H0 in H.
    symmetry in H. destruct (Rmult_integral _ _ H); lra. }
  assert (pos : forall t, 0 <= t -> Rabs (D t) <= 1).
  { intros t Ht.
    destruct (nfloor_ex (t * INR N)) as [n Hn]; [nra|].
    replace t with (INR n * / INR N + (t - INR n * / INR N)) by ring.
    rewrite Dadd, Dn, D1N, Rmult_0_r, Rplus_0_l.
    assert (0 <= t - INR n * / INR N < / INR N).
    { assert (t = t * INR N * / INR N) by (field; lra).
      assert (0 < / INR N) by (apply Rinv_0_lt_compat; assumption).
      split; rewrite H at 1; nra. }
    assert (B : ball (D 0) 1 (D (t - INR n * / INR N))).
    { apply near. unfold ball; simpl; unfold AbsRing_ball, abs, minus, plus, opp; simpl.
      rewrite Ropp_0, Rplus_0_r, Rabs_pos_eq; lra. }
    unfold ball in B; simpl in B; unfold AbsRing_ball, abs, minus, plus, opp in B; simpl in B.
    rewrite D0, Ropp_0, Rplus_0_r in B. lra. }
  assert (bounded : forall t, Rabs (D t) <= 1).
  { intros t. destruct (Rle_dec 0 t); [apply pos; assumption|].
    rewrite <- Rabs_Ropp, <- Dneg. apply pos; lra. }
  (* n D(t) = D(n t) is bounded, so D is 0 *)
  intros t. cut (D t = 0); [unfold D; lra|].
  destruct (Req_dec (D t) 0) as [|H]; [assumption|exfalso].
  assert (Hp : 0 < Rabs (D t)) by (apply Rabs_pos_lt; assumption).
  destruct (archimed_cor1 _ Hp) as (n & Hn & Hn0).
  assert (0 < INR n) by (apply lt_0_INR; exact Hn0).
  pose proof (bounded (INR n * t)) as Hb. rewrite Dn, Rabs_mult, (Rabs_pos_eq (INR n)) in Hb by lra.
  assert (1 = / INR n * INR n) by (field; lra). nra.
Qed.

(** If a rescaling of the input by [l] multiplies the output by some factor [G l], whatever the input, and
    the activation is continuous at a point where it is not 0, then the factor is a power of [l]. *)
Theorem only_powers (f G : R -> R) (x0 : R) :
  (forall l x, 0 < l -> f (l * x) = G l * f x) -> f x0 <> 0 -> continuous f x0 ->
  exists c, forall l, 0 < l -> G l = Rpower l c.
Proof.
  intros H Hx0 cont.
  assert (mul : forall l m, 0 < l -> 0 < m -> G (l * m) = G l * G m).
  { intros l m Hl Hm. apply Rmult_eq_reg_r with (f x0); [|assumption].
    rewrite <- H by (apply Rmult_lt_0_compat; assumption).
    rewrite Rmult_assoc, H, H by assumption. ring. }
  assert (G1 : G 1 = 1).
  { apply Rmult_eq_reg_r with (f x0); [|assumption]. rewrite <- H by lra. rewrite !Rmult_1_l. reflexivity. }
  assert (G0 : forall l, 0 < l -> G l <> 0).
  { intros l Hl E. pose proof (mul l (/ l) Hl (Rinv_0_lt_compat _ Hl)) as M.
    rewrite Rinv_r, G1, E in M by lra. lra. }
  assert (Gpos : forall l, 0 < l -> 0 < G l).
  { intros l Hl. assert (0 < sqrt l) by (apply sqrt_lt_R0; assumption).
    rewrite <- (sqrt_sqrt l) by lra. rewrite mul by assumption.
    pose proof (G0 (sqrt l) H0). nra. }
  set (L := fun t => ln (G (exp t))).
  assert (add : forall s t, L (s + t) = L s + L t).
  { intros s t. unfold L. rewrite exp_plus, mul by apply exp_pos.
    apply ln_mult; apply Gpos, exp_pos. }
  assert (Lcont : continuous L 0).
  { unfold L. apply (continuous_comp (fun t => G (exp t)) ln).
    - apply continuous_ext with (fun t => f (exp t * x0) * / f x0).
      { intros t. rewrite H by apply exp_pos.
        change (G (exp t) * f x0 * / f x0 = G (exp t) :> R). field; assumption. }
      apply (continuous_scal_l (fun t => f (exp t * x0)) (/ f x0)).
      apply (continuous_comp (fun t => exp t * x0) f).
      + apply (continuous_scal_l exp x0), continuous_exp.
      + rewrite exp_0, Rmult_1_l. exact cont.
    - apply continuity_pt_filterlim, derivable_continuous_pt.
      exists (/ G (exp 0)). apply derivable_pt_lim_ln, Gpos, exp_pos. }
  exists (L 1). intros l Hl.
  rewrite <- (exp_ln (G l)) by (apply Gpos; assumption). unfold Rpower. f_equal.
  rewrite <- (additive_linear L add Lcont). unfold L. rewrite exp_ln by assumption. reflexivity.
Qed.

(** ** Examples *)

Definition relu (x : R) : R := if Rlt_dec x 0 then 0 else x.

Fact relu_homogeneous : positively_homogeneous relu.
Proof.
  apply homogeneous_iff_bilu. exists 0, 1. intros x. unfold relu, BiLU.
  destruct (Rlt_dec x 0); ring.
Qed.

Fact square_degree_two : homogeneous_of_degree 2 (fun x => x * x).
Proof.
  intros l x Hl. replace 2 with (1 + 1) by ring.
  rewrite Rpower_plus, Rpower_1 by assumption. ring.
Qed.

(** Twin of [B.power-iff-bipu]: no degree makes the shifted identity homogeneous. *)
Fact affine_not_homogeneous (c : R) : ~ homogeneous_of_degree c (fun x => x + 1).
Proof.
  intros H. pose proof (H 2 0 ltac:(lra)). pose proof (H 2 1 ltac:(lra)). lra.
Qed.
