(** * Balancing one unit at a time converges, in every fair order

    Claims [B.stochastic-balancing] (Theorem 5.1 of [B]), [B.existence], [B.schedules] and [B.favorable], in
    their general form: any finite matrix A, any strictly convex costs. A step need not balance its unit: it
    is enough that it brings a fixed share of what balancing would bring. The hypotheses are that some z > 0 has
    A^T z = 0 (on a graph: every weight lies on a closed walk, see [Graphs]), that costs are bounded below
    and grow without bound as their weight grows, and that every unit is visited again and again. Neither
    a probability, nor independent columns, nor compactness is needed. *)

From Coq Require Import ConstructiveEpsilon Permutation Arith.
From Balproof Require Import Sums Balance LinearAlgebra.

Section Convergence.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (A : E -> U -> R) (phi psi : E -> R -> R).

(** Costs that are bounded below, and as large as one likes for large weights. *)
Definition coercive_costs : Prop :=
  forall e, In e edges ->
    (exists b, forall t, b <= phi e t) /\ (forall m, exists t, forall s, t <= s -> m <= phi e s).

(** Some z > 0 with A^T z = 0: on a graph, a circulation that uses every edge. *)
Definition circulation : Prop :=
  exists z : E -> R, (forall e, In e edges -> 0 < z e) /\
    (forall k, In k units -> (Σ e ∈ edges, A e k * z e) = 0).

Notation scale := (log_scale units A).
Notation total := (total_cost edges units A phi).
Notation imb := (imbalance edges units A psi).

(** States h 0, h 1, ...: from each to the next one unit, [order n], moves, and is balanced then. *)
Definition balancing_run (order : nat -> U) (h : nat -> U -> R) : Prop :=
  forall n, In (order n) units
    /\ (forall k, k <> order n -> h (S n) k = h n k)
    /\ imb (h (S n)) (order n) = 0.

(** The same with inexact steps: [best n] is where the exact step from [h n] would lead, and the step that is
    made brings at least a fixed share of what that would bring. *)
Definition sharing_run (order : nat -> U) (share : R) (best h : nat -> U -> R) : Prop :=
  0 < share /\ forall n, In (order n) units
    /\ (forall k, k <> order n -> h (S n) k = h n k /\ best n k = h n k)
    /\ imb (best n) (order n) = 0
    /\ share * (total (h n) - total (best n)) <= total (h n) - total (h (S n)).

(** Every unit is visited infinitely often. *)
Definition fair (order : nat -> U) : Prop :=
  forall k, In k units -> forall n, exists m, (n <= m)%nat /\ order m = k.

Hypothesis nodup : NoDup units.
Hypothesis convex : strictly_convex_costs edges phi psi.
Hypothesis smooth : forall e (t : R), In e edges -> continuous (psi e) t.
Hypothesis coercive : coercive_costs.
Hypothesis circ : circulation.

(** ** The states of bounded cost are bounded *)

Lemma bounded_log_scales (F0 : R) :
  exists M, 0 < M /\ forall h, total h <= F0 -> forall e, In e edges -> Rabs (scale h e) <= M.
Proof.
  destruct circ as (z & Hz & Hc).
  destruct (list_bound edges (fun e m => forall t, - m <= phi e t)) as (b & Hb & Hlow).
  { intros e m m' H Hm t. specialize (H t). lra. }
  { intros e He. destruct (coercive e He) as [[b Hb] _]. exists (- b). intros t. specialize (Hb t). lra. }
  set (K := F0 + INR (length edges) * b).
  destruct (list_bound edges (fun e m => forall s, m <= s -> K + 1 <= phi e s)) as (T & HT & Hup).
  { intros e m m' H Hm s Hs. apply H. lra. }
  { intros e He. apply (coercive e He). }
  set (Z := sum edges z).
  assert (HZ : 0 <= Z) by (apply sum_nonneg; intros; apply Rlt_le; auto).
  destruct (list_bound edges (fun e m => T * Z / z e <= m)) as (m & Hm & Hmz).
  { intros; lra. }
  { intros e He. exists (T * Z / z e). lra. }
  exists (Rmax T m). split; [eapply Rlt_le_trans; [exact HT|apply Rmax_l]|].
  intros h Hh.
  assert (up : forall e, In e edges -> scale h e <= T).
  { intros e He. destruct (Rle_dec (scale h e) T) as [|N]; [assumption|exfalso].
    assert (X : K + 1 <= phi e (scale h e)) by (apply Hup; auto; lra).
    assert (Y : phi e (scale h e) + b <= Σ e ∈ edges, (phi e (scale h e) + b)).
    { apply (sum_term edges (fun e => phi e (scale h e) + b)); auto.
      intros e' He'. pose proof (Hlow e' He' (scale h e')). lra. }
    rewrite sum_plus, sum_const in Y. unfold K in X. unfold total_cost in Hh. lra. }
  intros e He. apply Rabs_le. split; [|eapply Rle_trans; [apply up, He|apply Rmax_l]].
  assert (X : z e * (T - scale h e) <= Σ e ∈ edges, z e * (T - scale h e)).
  { apply (sum_term edges (fun e => z e * (T - scale h e))); auto.
    intros e' He'. pose proof (up e' He'). pose proof (Hz e' He'). apply Rmult_le_pos; lra. }
  rewrite (sum_ext edges _ (fun e => z e * T - z e * scale h e)) in X by (intros; ring).
  rewrite sum_minus, sum_scal_r, adjoint in X. fold Z in X.
  rewrite (sum_zero units) in X by (intros k Hk; rewrite Hc by assumption; ring).
  pose proof (Hmz e He) as Y. pose proof (Hz e He).
  assert (T * Z = T * Z / z e * z e) by (field; lra).
  assert (z e * (T - scale h e) <= z e * m).
  { apply Rmult_le_compat_l with (r := z e) in Y; lra. }
  assert (T - scale h e <= m) by (apply Rmult_le_reg_l with (z e); assumption).
  pose proof (Rmax_r T m). lra.
Qed.

(** ** Moduli on bounded sets *)

Lemma psi_uniform (M eps : R) : 0 < eps -> exists d, 0 < d /\ forall e, In e edges ->
  forall x y, Rabs x <= M -> Rabs y <= M -> Rabs (x - y) < d -> Rabs (psi e x - psi e y) < eps.
Proof.
  intros Heps. apply list_small.
  - intros e d d' H Hd x y Hx Hy Hxy. apply H; auto; lra.
  - intros e He.
    assert (Hc : forall x, - M <= x <= M -> continuity_pt (psi e) x)
      by (intros x _; apply continuity_pt_filterlim, smooth, He).
    destruct (Heine_cor2 Hc (mkposreal eps Heps)) as [[d Hd] H].
    exists d. split; [exact Hd|]. intros x y Hx Hy. apply H; apply Rabs_le_between; assumption.
Qed.

Lemma imbalance_uniform (M eps : R) : 0 < eps -> exists d, 0 < d /\ forall h h',
  (forall e, In e edges -> Rabs (scale h e) <= M /\ Rabs (scale h' e) <= M /\ Rabs (scale h e - scale h' e) < d) ->
  forall k, In k units -> Rabs (imb h k - imb h' k) < eps.
Proof.
  intros Heps.
  destruct (list_bound units (fun k m => (Σ e ∈ edges, Rabs (A e k)) <= m)) as (a & Ha & HA).
  { intros; lra. }
  { intros k _. eexists; apply Rle_refl. }
  destruct (psi_uniform M (eps / (a + 1))) as (d & Hd & H).
  { apply Rdiv_lt_0_compat; lra. }
  exists d. split; [exact Hd|]. intros h h' Hh k Hk. unfold imbalance.
  rewrite <- sum_minus. eapply Rle_lt_trans; [apply sum_abs|].
  apply Rle_lt_trans with (Σ e ∈ edges, Rabs (A e k) * (eps / (a + 1))).
  - apply sum_le. intros e He. rewrite <- Rmult_minus_distr_l, Rabs_mult.
    apply Rmult_le_compat_l; [apply Rabs_pos|]. apply Rlt_le.
    destruct (Hh e He) as (H1 & H2 & H3). apply H; assumption.
  - rewrite sum_scal_r.
    assert (0 < eps / (a + 1)) by (apply Rdiv_lt_0_compat; lra).
    apply Rle_lt_trans with (a * (eps / (a + 1))).
    + apply Rmult_le_compat_r; [lra|apply HA, Hk].
    + apply Rmult_lt_reg_r with (a + 1); [lra|].
      replace (a * (eps / (a + 1)) * (a + 1)) with (a * eps) by (field; lra). nra.
Qed.

(** Strict convexity is uniform on a bounded set. *)
Lemma phi_gap (M eps : R) : 0 < M -> 0 < eps -> exists g, 0 < g /\ forall e, In e edges ->
  forall x y, Rabs x <= M -> Rabs y <= M -> eps <= Rabs (y - x) -> phi e x + psi e x * (y - x) + g <= phi e y.
Proof.
  intros HM Heps. apply list_small.
  - intros e d d' H Hd x y Hx Hy Hxy. specialize (H x y Hx Hy Hxy). lra.
  - intros e He. destruct (convex e He) as [_ I].
    destruct (continuity_ab_min (fun s => psi e (s + eps / 2) - psi e s) (- (M + eps)) (M + eps))
      as (s0 & Hmin & _).
    { lra. }
    { intros c _. apply continuity_pt_filterlim.
      assert (C1 : continuous (fun s => psi e (s + eps / 2)) c).
      { apply (continuous_comp (fun s => s + eps / 2) (psi e)).
        - apply (continuous_plus (fun s : R => s) (fun _ => eps / 2));
            [apply continuous_id|apply continuous_const].
        - apply smooth, He. }
      exact (continuous_minus _ _ c C1 (smooth e c He)). }
    set (m := psi e (s0 + eps / 2) - psi e s0) in Hmin.
    assert (Hm : 0 < m) by (unfold m; pose proof (I s0 (s0 + eps / 2) ltac:(lra)); lra).
    exists (m * (eps / 2)). split; [apply Rmult_lt_0_compat; lra|].
    intros x y Hx Hy Hxy. apply Rabs_le_between in Hx, Hy.
    destruct (Rle_dec x y).
    + rewrite Rabs_pos_eq in Hxy by lra.
      pose proof (tangent_gap edges phi psi convex e x (x + eps / 2) y He).
      pose proof (Hmin x ltac:(lra)). simpl in H0.
      assert (m * (eps / 2) <= (psi e (x + eps / 2) - psi e x) * (y - (x + eps / 2)))
        by (apply Rmult_le_compat; lra).
      lra.
    + rewrite Rabs_left1 in Hxy by lra.
      pose proof (tangent_gap edges phi psi convex e x (x - eps / 2) y He).
      pose proof (Hmin (x - eps / 2) ltac:(lra)). simpl in H0.
      replace (x - eps / 2 + eps / 2) with x in H0 by ring.
      assert (m * (eps / 2) <= (psi e x - psi e (x - eps / 2)) * (x - eps / 2 - y))
        by (apply Rmult_le_compat; lra).
      lra.
Qed.

Definition within (M : R) (h : U -> R) : Prop := forall e, In e edges -> Rabs (scale h e) <= M.

Lemma total_gap (M eps : R) : 0 < M -> 0 < eps -> exists g, 0 < g /\ forall h h',
  within M h -> within M h' -> (exists e, In e edges /\ eps <= Rabs (scale h' e - scale h e)) ->
  total h + (Σ k ∈ units, imb h k * (h' k - h k)) + g <= total h'.
Proof.
  intros HM Heps. destruct (phi_gap M eps HM Heps) as (g & Hg & H).
  exists g. split; [exact Hg|]. intros h h' Hh Hh' (e & He & Hd).
  rewrite <- (slope edges units A psi h (fun k => h' k - h k)). unfold total_cost. rewrite <- sum_plus.
  assert (X : g <= Σ e ∈ edges,
    (phi e (scale h' e) - (phi e (scale h e) + psi e (scale h e) * scale (fun k => h' k - h k) e))).
  { eapply Rle_trans; [|apply (sum_term edges (fun e =>
      phi e (scale h' e) - (phi e (scale h e) + psi e (scale h e) * scale (fun k => h' k - h k) e)) e)]; auto.
    - rewrite log_scale_minus. pose proof (H e He (scale h e) (scale h' e) (Hh e He) (Hh' e He) Hd). lra.
    - intros e' He'. rewrite log_scale_minus.
      pose proof (tangent edges phi psi convex e' (scale h e') (scale h' e') He'). lra. }
  rewrite sum_minus in X. lra.
Qed.

(** ** A run *)

(** An exact step brings all that it could. *)
Lemma exact_run_shares order h :
  balancing_run order h -> sharing_run order 1 (fun n => h (S n)) h.
Proof.
  intros run. split; [lra|]. intros n. destruct (run n) as (Hin & Hother & Hbal).
  split; [exact Hin|]. split; [intros k Hk; split; apply Hother, Hk|]. split; [exact Hbal|lra].
Qed.

Section Run.
Variables (order : nat -> U) (share : R) (best h : nat -> U -> R).
Hypothesis run : sharing_run order share best h.
Hypothesis visits : fair order.

Lemma best_falls n : total (best n) <= total (h n).
Proof.
  apply (step_descends edges units A phi psi convex). intros k Hk.
  destruct run as [_ step]. destruct (step n) as (_ & Hother & Hbal & _).
  destruct (eq_dec k (order n)) as [->|Hne]; [right; exact Hbal|left; apply Hother, Hne].
Qed.

Lemma cost_falls n : total (h (S n)) <= total (h n).
Proof.
  destruct run as [Hs step]. destruct (step n) as (_ & _ & _ & Hgain). pose proof (best_falls n).
  assert (0 <= share * (total (h n) - total (best n))) by (apply Rmult_le_pos; lra). lra.
Qed.

Lemma cost_falls_from n m : (n <= m)%nat -> total (h m) <= total (h n).
Proof.
  intros H. induction H as [|m H IH]; [lra|]. pose proof (cost_falls m). lra.
Qed.

Lemma run_bounded : exists M, 0 < M /\ forall n, within M (h n) /\ within M (best n).
Proof.
  destruct (bounded_log_scales (total (h 0%nat))) as (M & HM & H).
  exists M. split; [exact HM|]. intros n. pose proof (cost_falls_from 0 n ltac:(lia)). pose proof (best_falls n).
  split; intros e He; apply H; auto; lra.
Qed.

Lemma cost_converges : exists l : R, is_lim_seq (fun n => total (h n)) l.
Proof.
  destruct (list_bound edges (fun e m => forall t, - m <= phi e t)) as (b & Hb & Hlow).
  { intros e m m' H Hm t. specialize (H t). lra. }
  { intros e He. destruct (coercive e He) as [[b Hb] _]. exists (- b). intros t. specialize (Hb t). lra. }
  destruct (ex_finite_lim_seq_decr (fun n => total (h n)) (INR (length edges) * - b)) as [l Hl].
  - exact cost_falls.
  - intros n. rewrite <- sum_const. apply sum_le. intros e He. apply Hlow, He.
  - exists l. exact Hl.
Qed.

(** Exact steps would become small, and those that are made do. *)
Lemma near_best (eps : R) : 0 < eps -> eventually (fun n => forall e, In e edges ->
  Rabs (scale (h n) e - scale (best n) e) < eps /\ Rabs (scale (h (S n)) e - scale (best n) e) < eps).
Proof.
  intros Heps. destruct run_bounded as (M & HM & Hin). destruct run as [Hs step].
  destruct (total_gap M eps HM Heps) as (g & Hg & Hgap).
  destruct cost_converges as (l & Hl).
  apply is_lim_seq_spec in Hl.
  assert (Hsg : 0 < share * g / 2) by (apply Rdiv_lt_0_compat; [apply Rmult_lt_0_compat; assumption|lra]).
  destruct (Hl (mkposreal _ Hsg)) as [N HN]. simpl in HN.
  exists N. intros n Hn. destruct (step n) as (_ & Hother & Hbal & Hgain).
  assert (Small : total (h n) - total (best n) < g).
  { pose proof (HN n Hn) as X1. pose proof (HN (S n) ltac:(lia)) as X2.
    apply Rabs_lt_between in X1, X2. apply Rmult_lt_reg_l with share; lra. }
  assert (Near : forall x, within M x -> total x <= total (h n) -> (forall k, k <> order n -> x k = h n k) ->
    forall e, In e edges -> Rabs (scale x e - scale (best n) e) < eps).
  { intros x Hx Hle Hsame e He. apply Rnot_le_lt. intros C.
    assert (X : total (best n) + (Σ k ∈ units, imb (best n) k * (x k - best n k)) + g <= total x).
    { apply Hgap; [apply Hin|exact Hx|]. exists e. split; [exact He|exact C]. }
    rewrite sum_zero in X; [lra|]. intros k Hk.
    destruct (eq_dec k (order n)) as [->|Hne]; [rewrite Hbal; ring|].
    destruct (Hother k Hne) as [_ B]. rewrite Hsame, B by exact Hne. ring. }
  intros e He. split; apply Near; auto; try apply Hin; [lra|apply cost_falls|].
  intros k Hk. apply Hother, Hk.
Qed.

Lemma steps_shrink (eps : R) : 0 < eps ->
  eventually (fun n => forall e, In e edges -> Rabs (scale (h (S n)) e - scale (h n) e) < eps).
Proof.
  intros Heps. destruct (near_best (eps / 2) ltac:(lra)) as [N HN]. exists N. intros n Hn e He.
  destruct (HN n Hn e He) as [H1 H2]. apply Rabs_lt_between in H1, H2. apply Rabs_def1; lra.
Qed.

Lemma first_visit (T : list U) n m : (n <= m)%nat -> In (order m) T ->
  exists m', (n <= m')%nat /\ In (order m') T /\ forall i, (n <= i < m')%nat -> ~ In (order i) T.
Proof.
  intros Hnm. remember (m - n)%nat as d eqn:Hd. revert n Hnm Hd.
  induction d as [|d IH]; intros n Hnm Hd Hm.
  - exists m. split; [exact Hnm|]. split; [exact Hm|]. intros i Hi. lia.
  - destruct (in_dec eq_dec (order n) T) as [Hin|Hout].
    + exists n. split; [lia|]. split; [exact Hin|]. intros i Hi. lia.
    + destruct (IH (S n)) as (m' & H1 & H2 & H3); [lia|lia|exact Hm|].
      exists m'. split; [lia|]. split; [exact H2|]. intros i Hi.
      destruct (Nat.eq_dec i n) as [->|]; [exact Hout|]. apply H3. lia.
Qed.

Lemma unmoved (T : list U) n m : (n <= m)%nat ->
  (forall i, (n <= i < m)%nat -> ~ In (order i) T) -> forall k, In k T -> h m k = h n k.
Proof.
  intros Hnm. induction Hnm as [|m Hnm IH]; intros HT k Hk; [reflexivity|].
  rewrite <- IH by (auto; intros; apply HT; lia).
  destruct run as [_ step]. destruct (step m) as (_ & Hother & _). apply Hother.
  intros ->. apply (HT m); [lia|exact Hk].
Qed.

(** The pairing of small imbalances with a move of bounded effect is small. *)
Lemma small_slope (S : list U) (M g : R) : NoDup S -> incl S units -> 0 < M -> 0 < g ->
  exists d, 0 < d /\ forall x y, within M x -> within M y ->
    (forall k, In k S -> Rabs (imb x k) <= d) ->
    (forall k, In k units -> ~ In k S -> y k = x k) ->
    Rabs (Σ k ∈ units, imb x k * (y k - x k)) < g.
Proof.
  intros HS Hincl HM Hg.
  destruct (small_pairing eq_dec edges A S HS) as (C & HC & HP).
  set (X := C * (INR (length edges) * (2 * M))).
  assert (HX : 0 <= X).
  { apply Rmult_le_pos; [exact HC|]. apply Rmult_le_pos; [apply pos_INR|lra]. }
  exists (g / (X + 1)). split; [apply Rdiv_lt_0_compat; lra|]. intros x y Hx Hy Hsmall Hsame.
  assert (Hrestrict : forall f : U -> R, (forall k, In k units -> ~ In k S -> f k = 0) ->
    sum units f = sum S f).
  { clear - eq_dec nodup HS Hincl. intros f Hf.
    set (p := fun k => if in_dec eq_dec k S then true else false).
    assert (E1 : sum units f = sum (filter p units) f).
    { rewrite sum_filter. apply sum_ext. intros k Hk. unfold p.
      destruct (in_dec eq_dec k S); [ring|]. rewrite Hf by assumption. ring. }
    rewrite E1. 
    assert (P : Permutation.Permutation (filter p units) S).
    { apply Permutation.NoDup_Permutation; [apply NoDup_filter, nodup|exact HS|].
      intros k. rewrite filter_In. unfold p. destruct (in_dec eq_dec k S) as [HkS|HkS].
      - split; [tauto|]. intros _. split; [apply Hincl, HkS|reflexivity].
      - split; [intros [_ C]; discriminate|contradiction]. }
    clear - P. induction P; simpl; lra. }
  assert (Hscale : forall e, log_scale S A (fun k => y k - x k) e = scale y e - scale x e).
  { intros e. rewrite <- log_scale_minus. symmetry. apply Hrestrict.
    intros k Hk HkS. rewrite Hsame by assumption. ring. }
  rewrite Hrestrict by (intros k Hk HkS; rewrite Hsame by assumption; ring).
  eapply Rle_lt_trans.
  - apply (HP (fun e => psi e (scale x e)) (fun k => y k - x k) (g / (X + 1))).
    + apply Rlt_le, Rdiv_lt_0_compat; lra.
    + exact Hsmall.
  - apply Rle_lt_trans with (g / (X + 1) * X).
    + apply Rmult_le_compat_l; [apply Rlt_le, Rdiv_lt_0_compat; lra|].
      apply Rmult_le_compat_l; [exact HC|]. rewrite <- sum_const. apply sum_le. intros e He.
      rewrite Hscale. pose proof (Hx e He) as X1. pose proof (Hy e He) as X2.
      apply Rabs_le_between in X1, X2. apply Rabs_le. lra.
    + apply Rmult_lt_reg_r with (X + 1); [lra|].
      replace (g / (X + 1) * X * (X + 1)) with (g * X) by (field; lra).
      replace (g * (X + 1)) with (g * X + g) by ring. lra.
Qed.

(** Induction on the set T of units that may still be out of balance. *)
Lemma settle (size : nat) : forall T : list U, (length T <= size)%nat -> incl T units ->
  forall eps, 0 < eps -> exists d, 0 < d /\ eventually (fun n =>
    (forall k, In k units -> ~ In k T -> Rabs (imb (h n) k) <= d) ->
    forall k, In k units -> Rabs (imb (h n) k) <= eps).
Proof.
  induction size as [|size IH]; intros T Hlen Hincl eps Heps.
  - destruct T; [|simpl in Hlen; lia]. exists eps. split; [exact Heps|].
    exists 0%nat. intros n _ H k Hk. apply H; auto.
  - destruct run_bounded as (M & HM & Hin).
    (* the units of T one by one *)
    destruct (list_small T (fun k d => eventually (fun n =>
      (forall j, In j units -> ~ In j (remove eq_dec k T) -> Rabs (imb (h n) j) <= d) ->
      forall j, In j units -> Rabs (imb (h n) j) <= eps))) as (d1 & Hd1 & H1).
    { intros k d d' [N HN] Hd. exists N. intros n Hn H. apply (HN n Hn).
      intros j Hj Hj'. specialize (H j Hj Hj'). lra. }
    { intros k Hk. apply IH; [|intros j Hj; apply Hincl; apply in_remove in Hj; tauto|exact Heps].
      pose proof (remove_length_lt eq_dec T k Hk). lia. }
    apply list_eventually in H1. destruct H1 as [N1 HN1].
    destruct (imbalance_uniform M (d1 / 4) ltac:(lra)) as (d2 & Hd2 & Huni).
    destruct (total_gap M d2 HM Hd2) as (g & Hg & Hgap).
    destruct (near_best d2 Hd2) as [N2 HN2].
    set (rest := filter (fun k => if in_dec eq_dec k T then false else true) units).
    assert (Hrest : forall k, In k rest <-> In k units /\ ~ In k T).
    { intros k. unfold rest. rewrite filter_In. destruct (in_dec eq_dec k T);
      split; intros [Hk1 Hk2]; solve [discriminate | contradiction | auto]. }
    destruct (small_slope rest M g (NoDup_filter _ nodup)
      ltac:(intros k Hk; apply Hrest in Hk; tauto) HM Hg) as (d3 & Hd3 & Hslope).
    set (d := Rmin eps (Rmin d1 d3)).
    assert (Hdd : d <= eps /\ d <= d1 /\ d <= d3).
    { unfold d. pose proof (Rmin_l eps (Rmin d1 d3)). pose proof (Rmin_r eps (Rmin d1 d3)).
      pose proof (Rmin_l d1 d3). pose proof (Rmin_r d1 d3). lra. }
    exists d. split; [unfold d; repeat apply Rmin_pos; assumption|].
    exists (max N1 N2). intros n Hn Hout.
    (* is some unit of T already nearly balanced? *)
    destruct (Exists_dec (fun k => Rabs (imb (h n) k) <= d1) T) as [Ex|NEx].
    { intros k. apply Rle_dec. }
    + apply Exists_exists in Ex as (k & HkT & Hk). intros j Hj.
      apply (HN1 n ltac:(lia) k HkT); [|exact Hj]. intros i Hi Hi'.
      destruct (eq_dec i k) as [->|Hne]; [exact Hk|].
      apply Rle_trans with d; [|lra]. apply Hout; [exact Hi|].
      intros HiT. apply Hi'. apply in_in_remove; assumption.
    + destruct T as [|k0 T'] eqn:ET.
      { intros k Hk. apply Rle_trans with d; [apply Hout; auto|lra]. }
      rewrite <- ET in *. exfalso.
      destruct (visits k0 (Hincl k0 ltac:(rewrite ET; left; reflexivity)) n) as (m0 & Hm0 & Hk0).
      destruct (first_visit T n m0 Hm0 ltac:(rewrite Hk0, ET; left; reflexivity)) as (m & Hnm & HmT & Hfirst).
      assert (Hsame := unmoved T n m Hnm Hfirst).
      set (k := order m) in *.
      assert (Hku : In k units) by (apply Hincl, HmT).
      (* up to the visit the state has moved little *)
      assert (Hmove : forall e, In e edges -> Rabs (scale (h n) e - scale (h m) e) < d2).
      { intros e He. destruct (Rlt_dec (Rabs (scale (h n) e - scale (h m) e)) d2) as [|C]; [assumption|exfalso].
        assert (X : total (h n) + (Σ j ∈ units, imb (h n) j * (h m j - h n j)) + g <= total (h m)).
        { apply Hgap; try apply Hin. exists e. split; [exact He|]. rewrite Rabs_minus_sym. lra. }
        assert (Y : Rabs (Σ j ∈ units, imb (h n) j * (h m j - h n j)) < g).
        { apply Hslope; try apply Hin.
          - intros j Hj. apply Hrest in Hj as [Hj HjT]. apply Rle_trans with d; [auto|lra].
          - intros j Hj HjS. apply Hsame. destruct (in_dec eq_dec j T); [assumption|].
            exfalso. apply HjS, Hrest. auto. }
        apply Rabs_lt_between in Y. pose proof (cost_falls_from n m Hnm). lra. }
      pose proof (Huni (h n) (h m) (fun e He => conj (proj1 (Hin n) e He) (conj (proj1 (Hin m) e He) (Hmove e He)))
        k Hku) as X1.
      (* and to balance k it would have to move little, too *)
      assert (Hstep : forall e, In e edges -> Rabs (scale (h m) e - scale (best m) e) < d2).
      { intros e He. apply HN2; [lia|exact He]. }
      pose proof (Huni (h m) (best m) (fun e He => conj (proj1 (Hin m) e He)
        (conj (proj2 (Hin m) e He) (Hstep e He))) k Hku) as X2.
      destruct run as [_ step]. destruct (step m) as (_ & _ & Hbal & _). fold k in Hbal. rewrite Hbal in X2.
      assert (X3 : d1 < Rabs (imb (h n) k)).
      { apply Rnot_le_lt. intros C. apply NEx, Exists_exists. exists k. auto. }
      apply Rabs_lt_between in X1, X2. revert X3. unfold Rabs. destruct (Rcase_abs _); lra.
Qed.

Lemma imbalance_vanishes (eps : R) : 0 < eps ->
  eventually (fun n => forall k, In k units -> Rabs (imb (h n) k) <= eps).
Proof.
  intros Heps.
  destruct (settle (length units) units (le_n _) (incl_refl _) eps Heps) as (d & _ & N & HN).
  exists N. intros n Hn. apply (HN n Hn). intros k Hk HkN. contradiction.
Qed.

Lemma log_scales_cauchy e : In e edges -> ex_lim_seq_cauchy (fun n => scale (h n) e).
Proof.
  intros He [eps Heps]. simpl. destruct run_bounded as (M & HM & Hin).
  destruct (total_gap M eps HM Heps) as (g & Hg & Hgap).
  destruct (small_slope units M g nodup (incl_refl _) HM Hg) as (d & Hd & Hslope).
  destruct (imbalance_vanishes d Hd) as [N HN].
  assert (W : forall n m, (N <= n)%nat -> (n <= m)%nat -> Rabs (scale (h m) e - scale (h n) e) < eps).
  { intros n m Hn Hnm. destruct (Rlt_dec (Rabs (scale (h m) e - scale (h n) e)) eps) as [|C]; [assumption|exfalso].
    assert (X : total (h n) + (Σ j ∈ units, imb (h n) j * (h m j - h n j)) + g <= total (h m)).
    { apply Hgap; try apply Hin. exists e. split; [exact He|lra]. }
    assert (Y : Rabs (Σ j ∈ units, imb (h n) j * (h m j - h n j)) < g).
    { apply Hslope; try apply Hin; [apply HN, Hn|intros; contradiction]. }
    apply Rabs_lt_between in Y. pose proof (cost_falls_from n m Hnm). lra. }
  exists N. intros n m Hn Hm. destruct (Nat.le_ge_cases n m) as [H|H].
  - rewrite Rabs_minus_sym. apply W; assumption.
  - apply W; assumption.
Qed.

(** [B.favorable]: steps that bring a fixed share of what exact ones would bring suffice. *)
Theorem sharing_converges :
  exists h', balanced edges units A psi h' /\
    forall e, In e edges -> is_lim_seq (fun n => scale (h n) e) (scale h' e).
Proof.
  set (x := fun e => real (Lim_seq (fun n => scale (h n) e))).
  assert (Hx : forall e, In e edges -> is_lim_seq (fun n => scale (h n) e) (x e)).
  { intros e He. apply Lim_seq_correct', ex_lim_seq_cauchy_corr, log_scales_cauchy, He. }
  destruct (closed_image eq_dec edges A units h x nodup Hx) as (h' & Hh').
  exists h'. split.
  - intros k Hk.
    assert (L : is_lim_seq (fun n => imb (h n) k) (imb h' k)).
    { apply sum_lim. intros e He. apply (is_lim_seq_scal_l _ (A e k) (psi e (scale h' e))).
      apply is_lim_seq_continuous; [apply continuity_pt_filterlim, smooth, He|].
      rewrite Hh' by assumption. apply Hx, He. }
    apply Rle_antisym; apply le_epsilon; intros eps Heps;
      apply is_lim_seq_spec in L; destruct (L (mkposreal (eps / 2) ltac:(lra))) as [N1 HN1];
      destruct (imbalance_vanishes (eps / 2) ltac:(lra)) as [N2 HN2];
      specialize (HN1 (max N1 N2) ltac:(lia)); specialize (HN2 (max N1 N2) ltac:(lia) k Hk); simpl in HN1;
      apply Rabs_lt_between in HN1; apply Rabs_le_between in HN2; lra.
  - intros e He. rewrite Hh' by assumption. apply Hx, He.
Qed.

Theorem sharing_cost_converges h' :
  balanced edges units A psi h' -> is_lim_seq (fun n => total (h n)) (total h').
Proof.
  intros Hb. destruct sharing_converges as (h2 & Hb2 & Hlim). apply sum_lim. intros e He.
  rewrite (balanced_unique edges units A phi psi convex h' h2 Hb Hb2 e He).
  apply is_lim_seq_continuous; [|apply Hlim, He].
  apply continuity_pt_filterlim, (ex_derive_continuous (phi e)).
  destruct (convex e He) as [D _]. eexists; apply D.
Qed.

Theorem sharing_moves_shrink :
  (forall k, In k units -> exists e, In e edges /\ A e k <> 0) ->
  is_lim_seq (fun n => h (S n) (order n) - h n (order n)) 0.
Proof.
  intros Hlive. apply is_lim_seq_spec. intros [eps Heps]. simpl.
  destruct (list_small units (fun k d => eventually (fun n =>
    order n = k -> Rabs (h (S n) k - h n k) * d < eps * d))) as (d & Hd & HN).
  { intros k d d' [N HN] Hd. exists N. intros n Hn Hk. specialize (HN n Hn Hk).
    apply Rmult_lt_compat_r; [lra|]. apply Rmult_lt_reg_r with d; lra. }
  { intros k Hk. destruct (Hlive k Hk) as (e & He & HA). exists (Rabs (A e k)).
    assert (HA' : 0 < Rabs (A e k)) by (apply Rabs_pos_lt; exact HA).
    split; [exact HA'|].
    destruct (steps_shrink (eps * Rabs (A e k)) ltac:(apply Rmult_lt_0_compat; assumption)) as [N HN].
    exists N. intros n Hn Ho. specialize (HN n Hn e He). rewrite <- Rabs_mult.
    replace ((h (S n) k - h n k) * A e k) with (scale (h (S n)) e - scale (h n) e); [exact HN|].
    rewrite <- log_scale_minus. unfold log_scale.
    rewrite <- (sum_pick eq_dec units (fun j => (h (S n) k - h n k) * A e j) k nodup Hk).
    apply sum_ext. intros j _. destruct run as [_ step]. destruct (step n) as (_ & Hother & _).
    destruct (eq_dec j k) as [->|Hne]; [ring|].
    destruct (Hother j) as [-> _]; [congruence|]. ring. }
  apply list_eventually in HN. destruct HN as [N HN]. exists N. intros n Hn.
  rewrite Rminus_0_r. apply Rmult_lt_reg_r with d; [exact Hd|].
  destruct run as [_ step]. apply (HN n Hn (order n)); [apply (step n)|reflexivity].
Qed.

End Run.

(** ** Exact steps *)

Section Exact.
Variables (order : nat -> U) (h : nat -> U -> R).
Hypothesis run : balancing_run order h.

(** [B.stochastic-balancing]: the log-scales of all weights converge to those of a balanced state, which by
    [balanced_unique] and [balanced_optimal] is the one optimum. *)
Theorem balancing_converges : fair order ->
  exists h', balanced edges units A psi h' /\
    forall e, In e edges -> is_lim_seq (fun n => scale (h n) e) (scale h' e).
Proof. exact (sharing_converges order 1 _ h (exact_run_shares order h run)). Qed.

(** The cost converges to that of the optimum. *)
Theorem cost_converges_to_optimum : fair order -> forall h',
  balanced edges units A psi h' -> is_lim_seq (fun n => total (h n)) (total h').
Proof. exact (sharing_cost_converges order 1 _ h (exact_run_shares order h run)). Qed.

(** The moves of units that have weights tend to 0: their scales tend to 1. *)
Theorem moves_shrink :
  (forall k, In k units -> exists e, In e edges /\ A e k <> 0) ->
  is_lim_seq (fun n => h (S n) (order n) - h n (order n)) 0.
Proof. exact (sharing_moves_shrink order 1 _ h (exact_run_shares order h run)). Qed.

End Exact.

(** ** Steps, and therefore balanced states, exist *)

Lemma scale_put x k t e : In k units ->
  scale (put eq_dec x k (x k + t)) e = scale x e + t * A e k.
Proof.
  intros Hk.
  assert (D : scale (fun j => put eq_dec x k (x k + t) j - x j) e = t * A e k).
  { unfold log_scale. rewrite <- (sum_pick eq_dec units (fun j => t * A e j) k nodup Hk).
    apply sum_ext. intros j _. unfold put. destruct (eq_dec j k) as [->|]; ring. }
  rewrite log_scale_minus in D. lra.
Qed.

Lemma step_exists (x : U -> R) (k : U) : In k units ->
  {t : R | imb (put eq_dec x k (x k + t)) k = 0}.
Proof.
  intros Hk. destruct (Req_EM_T (Σ e ∈ edges, Rabs (A e k)) 0) as [Z|NZ].
  { (* a unit without weights is balanced *)
    exists 0. apply sum_zero. intros e He.
    assert (Rabs (A e k) = 0).
    { apply (sum_eq_zero edges (fun e => Rabs (A e k))); auto; [intros; apply Rabs_pos|lra]. }
    rewrite (Rabs_eq_0 _ H). ring. }
  set (g := fun t => Σ e ∈ edges, A e k * psi e (scale x e + t * A e k)).
  assert (Hg : forall t, imb (put eq_dec x k (x k + t)) k = g t).
  { intros t. apply sum_ext. intros e _. rewrite scale_put by assumption. reflexivity. }
  assert (cont : continuity g).
  { intros t. apply continuity_pt_filterlim. unfold g.
    apply (sum_continuous edges (fun e t => A e k * psi e (scale x e + t * A e k))).
    intros e He. apply (continuous_scal_r (A e k) (fun t => psi e (scale x e + t * A e k))).
    apply (continuous_comp (fun t => scale x e + t * A e k) (psi e)); [|apply smooth, He].
    apply (continuous_plus (fun _ : R => scale x e) (fun t => t * A e k)); [apply continuous_const|].
    apply (continuous_scal_l (fun t : R => t) (A e k)), continuous_id. }
  assert (far : exists n : nat, 0 < g (INR n) /\ g (- INR n) < 0).
  { destruct (bounded_log_scales (total x)) as (M & HM & Hb).
    assert (exists e, In e edges /\ A e k <> 0) as (e & He & HA).
    { destruct (Exists_dec (fun e => A e k <> 0) edges) as [X|X].
      - intros e. destruct (Req_EM_T (A e k) 0); [right|left]; auto.
      - apply Exists_exists in X. exact X.
      - exfalso. apply NZ, sum_zero. intros e He.
        destruct (Req_dec (A e k) 0) as [->|C]; [apply Rabs_R0|].
        exfalso. apply X, Exists_exists. exists e; auto. }
    assert (HA' : 0 < Rabs (A e k)) by (apply Rabs_pos_lt; exact HA).
    destruct (nfloor_ex (2 * M / Rabs (A e k))) as [n Hn].
    { apply Rlt_le, Rdiv_lt_0_compat; lra. }
    exists (S n). rewrite S_INR.
    set (T := INR n + 1) in *.
    assert (HT : 2 * M < T * Rabs (A e k)).
    { apply Rmult_lt_reg_r with (/ Rabs (A e k)); [apply Rinv_0_lt_compat; exact HA'|].
      replace (T * Rabs (A e k) * / Rabs (A e k)) with T by (field; lra). unfold Rdiv in Hn. lra. }
    assert (Tpos : 0 < T) by (unfold T; pose proof (pos_INR n); lra).
    assert (X : forall t, Rabs t = T -> 0 < g t * t).
    { intros t Ht. rewrite <- Hg.
      assert (Y : total x < total (put eq_dec x k (x k + t))).
      { apply Rnot_le_lt. intros C. pose proof (Hb _ C e He) as B1. pose proof (Hb x (Rle_refl _) e He) as B2.
        rewrite scale_put in B1 by assumption.
        assert (B3 : Rabs (t * A e k) <= 2 * M).
        { replace (t * A e k) with (scale x e + t * A e k + - scale x e) by ring.
          eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. lra. }
        rewrite Rabs_mult, Ht in B3. lra. }
      pose proof (tangent_total edges units A phi psi convex (put eq_dec x k (x k + t)) x) as W.
      set (s := imb (put eq_dec x k (x k + t))) in *.
      assert (V : (Σ j ∈ units, s j * (x j - put eq_dec x k (x k + t) j)) = s k * - t).
      { rewrite <- (sum_pick eq_dec units (fun j => s j * - t) k nodup Hk).
        apply sum_ext. intros j _. unfold put. destruct (eq_dec j k) as [->|]; ring. }
      rewrite V in W. lra. }
    pose proof (X T (Rabs_pos_eq T ltac:(lra))) as X1.
    pose proof (X (- T) ltac:(rewrite Rabs_Ropp; apply Rabs_pos_eq; lra)) as X2.
    split; nra. }
  apply constructive_indefinite_ground_description_nat in far.
  - destruct far as (n & Hn1 & Hn2).
    assert (- INR n < INR n).
    { destruct n; [simpl in *; rewrite Ropp_0 in *; exfalso; lra|].
      rewrite S_INR. pose proof (pos_INR n). lra. }
    destruct (IVT g (- INR n) (INR n) cont H Hn2 Hn1) as (t & _ & Ht).
    exists t. rewrite Hg. exact Ht.
  - intros n. destruct (Rlt_dec 0 (g (INR n))), (Rlt_dec (g (- INR n)) 0);
      [left; tauto|right|right|right]; tauto.
Qed.

(** From every state and for every order there is a run. *)
Theorem runs_exist (order : nat -> U) (x : U -> R) :
  (forall n, In (order n) units) -> exists h, h 0%nat = x /\ balancing_run order h.
Proof.
  intros Ho.
  pose (h := fix h n := match n with
    | O => x
    | S m => put eq_dec (h m) (order m) (h m (order m) + proj1_sig (step_exists (h m) (order m) (Ho m)))
    end).
  exists h. split; [reflexivity|]. intros n. split; [apply Ho|]. split.
  - intros k Hk. simpl. apply put_other, Hk.
  - simpl. exact (proj2_sig (step_exists (h n) (order n) (Ho n))).
Qed.

(** A fair order exists: one unit after the other, again and again. *)
Lemma fair_order_exists : units <> [] -> exists order, (forall n, In (order n) units) /\ fair order.
Proof.
  clear - units.
  destruct units as [|k0 r] eqn:Eu; [contradiction|]. intros _.
  set (len := length units). assert (Hlen : len <> 0%nat) by (unfold len; rewrite Eu; discriminate).
  exists (fun n => nth (n mod len) units k0). rewrite <- Eu. split.
  - intros n. apply nth_In. apply Nat.mod_upper_bound, Hlen.
  - intros k Hk n. destruct (In_nth units k k0 Hk) as (i & Hi & Hik).
    exists (i + n * len)%nat. split; [nia|].
    rewrite Nat.mod_add by exact Hlen. rewrite Nat.mod_small by exact Hi. exact Hik.
Qed.

(** [B.existence]: where z > 0 has A^T z = 0, a balanced state exists. *)
Theorem balanced_exists : exists h, balanced edges units A psi h.
Proof.
  destruct units as [|k0 r] eqn:Eu.
  - exists (fun _ => 0). intros k [].
  - rewrite <- Eu in *.
    destruct fair_order_exists as (order & Hin & Hfair); [rewrite Eu; discriminate|].
    destruct (runs_exist order (fun _ => 0) Hin) as (h & _ & Hrun).
    destruct (balancing_converges order h Hrun Hfair) as (h' & Hb & _). exists h'. exact Hb.
Qed.

(** [B.schedules]: all fair orders, from all states, lead to the same weights. *)
Theorem same_limit_for_all_orders order1 order2 h1 h2 :
  balancing_run order1 h1 -> fair order1 -> balancing_run order2 h2 -> fair order2 ->
  exists x : E -> R, forall e, In e edges ->
    is_lim_seq (fun n => scale (h1 n) e) (x e) /\ is_lim_seq (fun n => scale (h2 n) e) (x e).
Proof.
  intros R1 F1 R2 F2.
  destruct (balancing_converges order1 h1 R1 F1) as (x1 & B1 & L1).
  destruct (balancing_converges order2 h2 R2 F2) as (x2 & B2 & L2).
  exists (scale x1). intros e He. split; [apply L1, He|].
  rewrite (balanced_unique edges units A phi psi convex x1 x2 B1 B2 e He). apply L2, He.
Qed.

End Convergence.

Arguments coercive_costs {E} edges phi.
Arguments circulation {E U} edges units A.
Arguments balancing_run {E U} edges units A psi order h.
Arguments sharing_run {E U} edges units A phi psi order share best h.
Arguments fair {U} units order.

(** ** Theorem 5.1 for the regularizer sum |w|^p and scales of any degrees

    With a_e = alpha_e |w_e|^p > 0. All that the theorem says of the regularizer and of the weights, for one
    run; [same_limit_for_all_orders] says that the limit does not depend on the order. *)

Lemma power_costs_coercive {E : Type} (edges : list E) (a p : E -> R) :
  (forall e, In e edges -> 0 < a e /\ 0 < p e) -> coercive_costs edges (fun e => power_cost (a e) (p e)).
Proof.
  intros H e He. destruct (H e He) as [Ha Hp]. unfold power_cost. split.
  - exists 0. intros t. apply Rmult_le_pos; [lra|apply Rlt_le, exp_pos].
  - intros m. exists (m / a e / p e). intros s Hs.
    apply Rmult_le_compat_l with (r := p e) in Hs; [|lra].
    replace (p e * (m / a e / p e)) with (m / a e) in Hs by (field; lra).
    pose proof (exp_ineq1_le (p e * s)) as X.
    replace m with (a e * (m / a e)) by (field; lra). apply Rmult_le_compat_l; lra.
Qed.

Lemma power_marginal_continuous (a p t : R) : continuous (power_marginal a p) t.
Proof. apply (ex_derive_continuous (power_marginal a p)). unfold power_marginal. auto_derive. exact I. Qed.

Theorem powers_converge {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k})
    (edges : list E) (units : list U) (A : E -> U -> R) (a : E -> R) (p : R)
    (order : nat -> U) (h : nat -> U -> R) :
  let total := total_cost edges units A (fun e => power_cost (a e) p) in
  let marginal := fun e => power_marginal (a e) p in
  NoDup units -> (forall e, In e edges -> 0 < a e) -> 0 < p -> circulation edges units A ->
  balancing_run edges units A marginal order h -> fair units order ->
  (forall n, imbalance edges units A marginal (h n) (order n) <> 0 -> total (h (S n)) < total (h n)) /\
  ((forall k, In k units -> exists e, In e edges /\ A e k <> 0) ->
    is_lim_seq (fun n => h (S n) (order n) - h n (order n)) 0) /\
  exists h', balanced edges units A marginal h' /\ optimal edges units A (fun e => power_cost (a e) p) h' /\
    is_lim_seq (fun n => total (h n)) (total h') /\
    forall e, In e edges -> is_lim_seq (fun n => log_scale units A (h n) e) (log_scale units A h' e).
Proof.
  intros total marginal Hu Ha Hp Hc Hrun Hfair.
  assert (Hap : forall e, In e edges -> 0 < a e /\ 0 < p) by auto.
  assert (convex : strictly_convex_costs edges (fun e => power_cost (a e) p) marginal)
    by exact (power_costs_convex edges a (fun _ => p) Hap).
  assert (smooth : forall e (t : R), In e edges -> continuous (marginal e) t)
    by (intros; apply power_marginal_continuous).
  assert (coercive : coercive_costs edges (fun e => power_cost (a e) p))
    by exact (power_costs_coercive edges a (fun _ => p) Hap).
  split; [|split].
  - intros n Hn. destruct (Hrun n) as (_ & Hother & Hbal).
    apply (step_descends_strictly edges units A _ marginal convex (h n) (h (S n)) (order n)); auto.
    intros k _. destruct (eq_dec k (order n)) as [->|Hne]; auto.
  - apply (moves_shrink eq_dec edges units A _ marginal Hu convex smooth coercive Hc order h Hrun).
  - destruct (balancing_converges eq_dec edges units A _ marginal Hu convex smooth coercive Hc order h Hrun Hfair)
      as (h' & Hb & Hlim).
    exists h'. split; [exact Hb|]. split; [apply (balanced_optimal _ _ _ _ marginal convex), Hb|].
    split; [|exact Hlim].
    apply (cost_converges_to_optimum eq_dec edges units A _ marginal Hu convex smooth coercive Hc order h Hrun Hfair
      h' Hb).
Qed.
