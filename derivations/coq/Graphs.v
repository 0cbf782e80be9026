(** * Networks of units of degree one, as graphs

    Nodes are the hidden units and one more, [None], which stands for all visible units (inputs, outputs,
    the constant unit) merged. Claims [B.stochastic-balancing] (Theorem 5.1 of [B]) in the words of the
    paper, [B.existence] and [B.schedules]. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence.

(** Every proposition is true or false, and one may compute with which: the Reals assume as much. *)
Lemma decide (P : Prop) : {P} + {~ P}.
Proof.
  destruct (ClassicalDedekindReals.sig_not_dec P) as [H|H]; [left|right; exact H].
  apply Classical_Prop.NNPP, H.
Qed.

Section Graph.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variables (edges : list E) (units : list U) (source target : E -> option U).

(** 1 if node [n] is unit [k]. *)
Definition at_unit (n : option U) (k : U) : R :=
  match n with Some j => if eq_dec j k then 1 else 0 | None => 0 end.

(** The matrix A of the graph: 1 where an edge comes in, -1 where it goes out, 0 for a loop. *)
Definition incidence (e : E) (k : U) : R := at_unit (target e) k - at_unit (source e) k.

(** The log-scale of a node; visible units keep theirs. *)
Definition node_scale (h : U -> R) (n : option U) : R :=
  match n with Some k => h k | None => 0 end.

(** A walk along edges from a node to a node. *)
Inductive walk : option U -> option U -> list E -> Prop :=
  | walk_nil n : walk n n []
  | walk_cons e n l : In e edges -> walk (target e) n l -> walk (source e) n (e :: l).

Definition every_edge_on_closed_walk : Prop :=
  forall e, In e edges -> exists l, walk (target e) (source e) l.

(** The ends of edges are visible, or units of the list. *)
Definition well_formed : Prop := NoDup units /\ NoDup edges /\
  forall e k, In e edges -> target e = Some k \/ source e = Some k -> In k units.

Hypothesis wf : well_formed.

Lemma at_unit_scale h n : (forall k, n = Some k -> In k units) ->
  (Σ k ∈ units, at_unit n k * h k) = node_scale h n.
Proof.
  destruct wf as (Hu & _). destruct n as [j|]; simpl; intros H.
  - rewrite <- (sum_pick eq_dec units h j Hu (H j eq_refl)). apply sum_ext. intros k _.
    destruct (eq_dec j k), (eq_dec k j); subst; try contradiction; ring.
  - apply sum_zero. intros; ring.
Qed.

Lemma incidence_scale h e : In e edges ->
  log_scale units incidence h e = node_scale h (target e) - node_scale h (source e).
Proof.
  destruct wf as (_ & _ & Hends). intros He. unfold log_scale, incidence.
  rewrite (sum_ext _ _ (fun k => at_unit (target e) k * h k - at_unit (source e) k * h k)) by (intros; ring).
  rewrite sum_minus, !at_unit_scale; [reflexivity| |]; intros k Hk; apply (Hends e k He); auto.
Qed.

(** ** Closed walks and circulations *)

(** The unit flow along a walk leaves its start and arrives at its end. *)
Lemma walk_flow a b l : walk a b l -> exists y : E -> R, (forall e, 0 <= y e) /\
  forall k, (Σ e ∈ edges, incidence e k * y e) = at_unit b k - at_unit a k.
Proof.
  destruct wf as (_ & Hed & _). induction 1 as [n|e n l He _ (y & Hy & Hk)].
  - exists (fun _ => 0). split; [intros; lra|]. intros k. rewrite sum_zero by (intros; ring). ring.
  - exists (fun d => y d + (if edge_dec d e then 1 else 0)). split.
    + intros d. specialize (Hy d). destruct (edge_dec d e); lra.
    + intros k.
      rewrite (sum_ext _ _ (fun d => incidence d k * y d + (if edge_dec d e then incidence d k else 0))).
      * rewrite sum_plus, Hk, (sum_pick edge_dec edges (fun d => incidence d k) e Hed He).
        unfold incidence. ring.
      * intros d _. destruct (edge_dec d e); ring.
Qed.

Theorem closed_walks_circulation : every_edge_on_closed_walk -> circulation edges units incidence.
Proof.
  intros Hc.
  assert (X : forall L, incl L edges -> exists z : E -> R, (forall e, 0 <= z e) /\ (forall e, In e L -> 0 < z e)
    /\ forall k, (Σ e ∈ edges, incidence e k * z e) = 0).
  { induction L as [|e L IH]; intros HL.
    - exists (fun _ => 0). repeat split; try (intros; lra); [intros e []|].
      intros k. apply sum_zero. intros; ring.
    - destruct IH as (z & Hz0 & Hz & Hzk); [intros d Hd; apply HL; right; exact Hd|].
      assert (He : In e edges) by (apply HL; left; reflexivity).
      destruct (Hc e He) as [l Hl].
      destruct (walk_flow _ _ _ (walk_cons e (source e) l He Hl)) as (y & Hy & Hyk).
      destruct wf as (_ & Hed & _).
      destruct (walk_flow _ _ _ Hl) as (y' & Hy' & Hyk').
      exists (fun d => z d + (y' d + (if edge_dec d e then 1 else 0))). repeat split.
      + intros d. specialize (Hz0 d). specialize (Hy' d). destruct (edge_dec d e); lra.
      + intros d Hd. specialize (Hz0 d). specialize (Hy' d). destruct (edge_dec d e); [lra|].
        destruct Hd as [->|Hd]; [contradiction|]. specialize (Hz d Hd). lra.
      + intros k. rewrite (sum_ext _ _ (fun d => incidence d k * z d
          + (incidence d k * y' d + (if edge_dec d e then incidence d k else 0)))).
        * rewrite !sum_plus, Hzk, Hyk', (sum_pick edge_dec edges (fun d => incidence d k) e Hed He).
          unfold incidence. ring.
        * intros d _. destruct (edge_dec d e); ring. }
  destruct (X edges (incl_refl _)) as (z & _ & Hz & Hzk). exists z. auto.
Qed.

Lemma walk_snoc a b l e : walk a b l -> In e edges -> source e = b -> exists l', walk a (target e) l'.
Proof.
  intros W He. induction W as [n|d n l Hd W IH]; intros Hs.
  - exists [e]. rewrite <- Hs. apply walk_cons; [exact He|apply walk_nil].
  - destruct (IH Hs) as [l' Hl']. exists (d :: l'). apply walk_cons; assumption.
Qed.

(** An edge on no closed walk can be lowered at no cost: raise all that can be reached from it... that is,
    lower the scales of the nodes that its end reaches. *)
Theorem no_closed_walk_lowering (e : E) : In e edges -> ~ (exists l, walk (target e) (source e) l) ->
  exists d, (forall e', In e' edges -> log_scale units incidence d e' <= 0) /\ log_scale units incidence d e < 0.
Proof.
  intros He Hno.
  set (reach := fun n => if decide (exists l, walk (target e) n l) then 1 else 0).
  exists (fun k => reach None - reach (Some k)).
  assert (N : forall n, node_scale (fun k => reach None - reach (Some k)) n = reach None - reach n).
  { intros [k|]; simpl; ring. }
  assert (S : forall e', In e' edges ->
    log_scale units incidence (fun k => reach None - reach (Some k)) e' = reach (source e') - reach (target e')).
  { intros e' He'. rewrite incidence_scale by exact He'. rewrite !N. ring. }
  split.
  - intros e' He'. rewrite S by exact He'. unfold reach.
    destruct (decide (exists l, walk (target e) (source e') l)) as [[l Hl]|],
      (decide (exists l, walk (target e) (target e') l)) as [|Ht]; try lra.
    exfalso. apply Ht. exact (walk_snoc _ _ _ e' Hl He' eq_refl).
  - rewrite S by exact He. unfold reach.
    destruct (decide (exists l, walk (target e) (source e) l)); [contradiction|].
    destruct (decide (exists l, walk (target e) (target e) l)) as [|Ht]; [lra|].
    exfalso. apply Ht. exists []. apply walk_nil.
Qed.

(** [B.existence] on graphs: for strictly convex costs that rise with the weights, are bounded below and
    grow without bound, the optimum is attained just if every edge lies on a closed walk (through the
    visible node, perhaps). *)
Theorem existence_on_graphs (phi psi : E -> R -> R) :
  strictly_convex_costs edges phi psi -> (forall e (t : R), In e edges -> continuous (psi e) t) ->
  coercive_costs edges phi -> (forall e t, In e edges -> 0 < psi e t) ->
  (exists h, optimal edges units incidence phi h) <-> every_edge_on_closed_walk.
Proof.
  intros convex smooth coercive pos. destruct wf as (Hu & _). split.
  - intros [h Ho] e He. destruct (decide (exists l, walk (target e) (source e) l)) as [|Hno]; [assumption|exfalso].
    destruct (no_closed_walk_lowering e He Hno) as (d & Hd & Hlt).
    apply (lowering_direction_not_attained edges units incidence phi psi convex d pos Hd
      (ex_intro _ e (conj He Hlt)) h Ho).
  - intros Hc.
    destruct (balanced_exists eq_dec edges units incidence phi psi Hu convex smooth coercive
      (closed_walks_circulation Hc)) as (h & Hb).
    exists h. apply (balanced_optimal edges units incidence phi psi convex h Hb).
Qed.

(** ** Theorem 5.1 in the words of the paper, for the regularizer sum |w|^p *)

Section Weights.
Variable p : R.
Hypothesis p_pos : 0 < p.

Definition in_cost (w : E -> R) (k : U) : R := Σ e ∈ edges, at_unit (target e) k * apow (w e) p.
Definition out_cost (w : E -> R) (k : U) : R := Σ e ∈ edges, at_unit (source e) k * apow (w e) p.
Definition regularizer (w : E -> R) : R := Σ e ∈ edges, apow (w e) p.

(** Unit k scaled by s: incoming weights times s, outgoing weights divided by s, a loop unchanged. *)
Definition scaled (k : U) (s : R) (w : E -> R) (e : E) : R :=
  let f n := match n with Some j => if eq_dec j k then s else 1 | None => 1 end in
  f (target e) * w e / f (source e).

(** All units scaled, by exp (h k). *)
Definition rescaled (h : U -> R) (w : E -> R) (e : E) : R :=
  exp (node_scale h (target e)) * w e / exp (node_scale h (source e)).

(** Balancing: at time n unit [order n] is scaled by [s n] > 0 such that its costs agree. *)
Definition weight_balancing (order : nat -> U) (s : nat -> R) (w : nat -> E -> R) : Prop :=
  forall n, In (order n) units /\ 0 < s n
    /\ (forall e, w (S n) e = scaled (order n) (s n) (w n) e)
    /\ in_cost (w (S n)) (order n) = out_cost (w (S n)) (order n).

Definition weights_balanced (w : E -> R) : Prop := forall k, In k units -> in_cost w k = out_cost w k.

Variable w0 : E -> R.
Hypothesis nonzero : forall e, In e edges -> w0 e <> 0.

Let phi e := power_cost (apow (w0 e) p) p.
Let psi e := power_marginal (apow (w0 e) p) p.

Lemma phi_convex : strictly_convex_costs edges phi psi.
Proof.
  apply (power_costs_convex edges (fun e => apow (w0 e) p) (fun _ => p)).
  intros e He. split; [apply apow_pos, nonzero, He|exact p_pos].
Qed.

Lemma psi_continuous e (t : R) : In e edges -> continuous (psi e) t.
Proof.
  intros _. apply (ex_derive_continuous (psi e)). unfold psi, power_marginal. auto_derive. exact I.
Qed.

Lemma phi_coercive : coercive_costs edges phi.
Proof.
  intros e He. pose proof (apow_pos (w0 e) p (nonzero e He)) as Ha. unfold phi, power_cost. split.
  - exists 0. intros t. apply Rmult_le_pos; [lra|apply Rlt_le, exp_pos].
  - intros m. exists (m / (apow (w0 e) p) / p). intros s Hs.
    assert (p * s >= m / apow (w0 e) p).
    { apply Rle_ge. apply Rmult_le_compat_l with (r := p) in Hs; [|lra].
      replace (p * (m / apow (w0 e) p / p)) with (m / apow (w0 e) p) in Hs by (field; lra). exact Hs. }
    pose proof (exp_ineq1_le (p * s)) as X.
    replace m with (apow (w0 e) p * (m / apow (w0 e) p)) by (field; lra).
    apply Rmult_le_compat_l; lra.
Qed.

Lemma psi_pos e t : In e edges -> 0 < psi e t.
Proof.
  intros He. unfold psi, power_marginal. repeat apply Rmult_lt_0_compat; auto using exp_pos.
  apply apow_pos, nonzero, He.
Qed.

Lemma rescaled_is h e : In e edges -> rescaled h w0 e = exp (log_scale units incidence h e) * w0 e.
Proof.
  intros He. rewrite incidence_scale by exact He. unfold rescaled, Rminus. rewrite exp_plus, exp_Ropp.
  field. apply Rgt_not_eq, exp_pos.
Qed.

Lemma rescaled_cost h e : In e edges -> apow (rescaled h w0 e) p = phi e (log_scale units incidence h e).
Proof. intros He. rewrite rescaled_is by exact He. apply power_cost_is. Qed.

Lemma regularizer_is h : regularizer (rescaled h w0) = total_cost edges units incidence phi h.
Proof. apply sum_ext. intros e He. apply rescaled_cost, He. Qed.

Lemma imbalance_is h k :
  imbalance edges units incidence psi h k = p * (in_cost (rescaled h w0) k - out_cost (rescaled h w0) k).
Proof.
  unfold in_cost, out_cost, imbalance. rewrite <- sum_minus, <- sum_scal. apply sum_ext. intros e He.
  rewrite rescaled_cost by exact He. unfold incidence, phi, psi, power_cost, power_marginal. ring.
Qed.

Lemma balanced_is h :
  weights_balanced (rescaled h w0) <-> balanced edges units incidence psi h.
Proof.
  split; intros H k Hk; specialize (H k Hk).
  - rewrite imbalance_is, H. ring.
  - rewrite imbalance_is in H. destruct (Rmult_integral _ _ H); lra.
Qed.

(** A rescaling that is balanced is the best of all, and strictly better than any with other weights;
    so there is at most one. *)
Theorem balanced_weights_optimal h h' : weights_balanced (rescaled h w0) ->
  regularizer (rescaled h w0) <= regularizer (rescaled h' w0) /\
  ((exists e, In e edges /\ rescaled h w0 e <> rescaled h' w0 e) ->
   regularizer (rescaled h w0) < regularizer (rescaled h' w0)).
Proof.
  intros Hb. apply balanced_is in Hb. rewrite !regularizer_is. split.
  - apply (balanced_optimal edges units incidence phi psi phi_convex h Hb).
  - intros (e & He & Hne). apply (balanced_strictly_optimal edges units incidence phi psi phi_convex h h' e Hb He).
    intros X. apply Hne. rewrite !rescaled_is, X by exact He. reflexivity.
Qed.

Theorem balanced_weights_unique h h' :
  weights_balanced (rescaled h w0) -> weights_balanced (rescaled h' w0) ->
  forall e, In e edges -> rescaled h w0 e = rescaled h' w0 e.
Proof.
  intros Hb Hb' e He. apply balanced_is in Hb, Hb'. rewrite !rescaled_is by exact He.
  rewrite (balanced_unique edges units incidence phi psi phi_convex h h' Hb Hb' e He). reflexivity.
Qed.

(** A run of weights is a run of log-scales. *)
Lemma run_of_log_scales order s w :
  (forall e, w 0%nat e = w0 e) -> weight_balancing order s w -> exists h : nat -> U -> R,
    (forall n e, In e edges -> w n e = rescaled (h n) w0 e) /\ balancing_run edges units incidence psi order h
    /\ (forall n, h (S n) (order n) = h n (order n) + ln (s n)).
Proof.
  intros H0 Hrun.
  pose (h := fix h n := match n with
    | O => fun _ => 0
    | S m => put eq_dec (h m) (order m) (h m (order m) + ln (s m))
    end).
  assert (Hw : forall n e, In e edges -> w n e = rescaled (h n) w0 e).
  { induction n as [|n IH]; intros e He.
    - rewrite H0. unfold rescaled. simpl. destruct (target e), (source e); simpl; rewrite exp_0; field.
    - destruct (Hrun n) as (_ & Hs & Hstep & _). rewrite Hstep. unfold scaled. rewrite IH by exact He.
      assert (F : forall m, (match m with Some j => if eq_dec j (order n) then s n else 1 | None => 1 end)
        * exp (node_scale (h n) m) = exp (node_scale (h (S n)) m)).
      { intros [j|]; simpl; [|ring]. unfold put. destruct (eq_dec j (order n)) as [->|]; [|ring].
        rewrite exp_plus, exp_ln by exact Hs. ring. }
      unfold rescaled. rewrite <- !F.
      assert (exp (node_scale (h n) (source e)) <> 0) by apply Rgt_not_eq, exp_pos.
      destruct (source e) as [j|]; simpl in *; [destruct (eq_dec j (order n))|]; field; repeat split; lra. }
  exists h. split; [exact Hw|]. split; [intros n; split; [|split]|].
  - apply Hrun.
  - intros k Hk. simpl. apply put_other, Hk.
  - destruct (Hrun n) as (_ & _ & _ & Hbal). rewrite imbalance_is.
    assert (X : forall k, in_cost (w (S n)) k = in_cost (rescaled (h (S n)) w0) k
      /\ out_cost (w (S n)) k = out_cost (rescaled (h (S n)) w0) k).
    { intros k. split; apply sum_ext; intros e He; rewrite Hw by exact He; reflexivity. }
    destruct (X (order n)) as [X1 X2]. rewrite <- X1, <- X2, Hbal. ring.
  - intros n. simpl. apply put_same.
Qed.

(** And a run of log-scales is a run of weights; so runs exist, for every order. *)
Theorem weight_runs_exist order : every_edge_on_closed_walk -> (forall n, In (order n) units) ->
  exists s w, (forall e, w 0%nat e = w0 e) /\ weight_balancing order s w.
Proof.
  intros Hc Ho. destruct wf as (Hu & _).
  destruct (runs_exist eq_dec edges units incidence phi psi Hu phi_convex psi_continuous phi_coercive
    (closed_walks_circulation Hc) order (fun _ => 0) Ho) as (h & H0 & Hr).
  exists (fun n => exp (h (S n) (order n) - h n (order n))), (fun n => rescaled (h n) w0). split.
  - intros e. rewrite H0. unfold rescaled. destruct (target e), (source e); simpl; rewrite exp_0; field.
  - intros n. destruct (Hr n) as (Hin & Hother & Hbal). split; [exact Hin|]. split; [apply exp_pos|]. split.
    + intros e. unfold scaled.
      assert (F : forall m, (match m with Some j => if eq_dec j (order n) then exp (h (S n) (order n) - h n (order n))
          else 1 | None => 1 end) * exp (node_scale (h n) m) = exp (node_scale (h (S n)) m)).
      { intros [j|]; simpl; [|ring]. destruct (eq_dec j (order n)) as [->|Hne].
        - rewrite <- exp_plus. f_equal. ring.
        - rewrite (Hother j Hne). ring. }
      unfold rescaled. rewrite <- !F.
      assert (exp (node_scale (h n) (source e)) <> 0) by apply Rgt_not_eq, exp_pos.
      pose proof (exp_pos (h (S n) (order n) - h n (order n))).
      destruct (source e) as [j|]; simpl in *; [destruct (eq_dec j (order n))|]; field; repeat split; lra.
    + rewrite imbalance_is in Hbal. destruct (Rmult_integral _ _ Hbal); lra.
Qed.

(** Balancing a unit never raises the regularizer, and lowers it unless the unit was balanced. *)
Theorem balancing_lowers order s w n :
  (forall e, w 0%nat e = w0 e) -> weight_balancing order s w ->
  regularizer (w (S n)) <= regularizer (w n) /\
  (in_cost (w n) (order n) <> out_cost (w n) (order n) -> regularizer (w (S n)) < regularizer (w n)).
Proof.
  intros H0 Hrun. destruct (run_of_log_scales order s w H0 Hrun) as (h & Hw & Hr & _).
  assert (HR : forall m, regularizer (w m) = total_cost edges units incidence phi (h m)).
  { intros m. rewrite <- regularizer_is. apply sum_ext. intros e He. rewrite Hw by exact He. reflexivity. }
  rewrite !HR. destruct (Hr n) as (_ & Hother & Hbal).
  assert (Hs : forall k, In k units -> h (S n) k = h n k \/ imbalance edges units incidence psi (h (S n)) k = 0).
  { intros k _. destruct (eq_dec k (order n)) as [->|Hne]; auto. }
  split; [exact (step_descends edges units incidence phi psi phi_convex (h n) (h (S n)) Hs)|].
  intros Hne. apply (step_descends_strictly edges units incidence phi psi phi_convex (h n) (h (S n)) (order n) Hs); auto.
  rewrite imbalance_is. intros X. apply Hne.
  assert (Y : in_cost (w n) (order n) = in_cost (rescaled (h n) w0) (order n)
    /\ out_cost (w n) (order n) = out_cost (rescaled (h n) w0) (order n)).
  { split; apply sum_ext; intros e He; rewrite Hw by exact He; reflexivity. }
  destruct Y as [-> ->]. destruct (Rmult_integral _ _ X); lra.
Qed.

(** [B.stochastic-balancing], Theorem 5.1: whatever the order, as long as every unit comes again and again,
    the weights converge to the one balanced rescaling of the first weights, which is the unique minimum of
    the regularizer over all rescalings, and the regularizer converges to this minimum. *)
Theorem stochastic_balancing :
  every_edge_on_closed_walk -> exists W : E -> R,
    (exists h, forall e, In e edges -> W e = rescaled h w0 e) /\ weights_balanced W /\
    (forall h, regularizer W <= regularizer (rescaled h w0) /\
      ((exists e, In e edges /\ W e <> rescaled h w0 e) -> regularizer W < regularizer (rescaled h w0))) /\
    (forall order s w, (forall e, w 0%nat e = w0 e) -> weight_balancing order s w -> fair units order ->
      (forall e, In e edges -> is_lim_seq (fun n => w n e) (W e)) /\
      is_lim_seq (fun n => regularizer (w n)) (regularizer W)).
Proof.
  intros Hc. destruct wf as (Hu & _). pose proof (closed_walks_circulation Hc) as circ.
  destruct (balanced_exists eq_dec edges units incidence phi psi Hu phi_convex psi_continuous phi_coercive circ)
    as (h0 & Hb0).
  exists (rescaled h0 w0). apply balanced_is in Hb0 as Hb. repeat split.
  - exists h0. reflexivity.
  - exact Hb.
  - apply balanced_weights_optimal, Hb.
  - apply balanced_weights_optimal, Hb.
  - intros e He. destruct (run_of_log_scales order s w H H0) as (h & Hw & Hr & _).
    destruct (balancing_converges eq_dec edges units incidence phi psi Hu phi_convex psi_continuous phi_coercive
      circ order h Hr H1) as (h1 & Hb1 & Hlim).
    apply is_lim_seq_ext with (fun n => exp (log_scale units incidence (h n) e) * w0 e).
    { intros n. rewrite Hw, rescaled_is by exact He. reflexivity. }
    rewrite rescaled_is by exact He.
    rewrite (balanced_unique edges units incidence phi psi phi_convex h0 h1 Hb0 Hb1 e He).
    apply (is_lim_seq_scal_r _ (w0 e) (exp (log_scale units incidence h1 e))).
    apply is_lim_seq_continuous; [apply continuity_pt_filterlim, continuous_exp|apply Hlim, He].
  - destruct (run_of_log_scales order s w H H0) as (h & Hw & Hr & _).
    apply is_lim_seq_ext with (fun n => total_cost edges units incidence phi (h n)).
    { intros n. rewrite <- regularizer_is. apply sum_ext. intros e He. rewrite Hw by exact He. reflexivity. }
    rewrite regularizer_is.
    apply (cost_converges_to_optimum eq_dec edges units incidence phi psi Hu phi_convex psi_continuous
      phi_coercive circ order h Hr H1 h0 Hb0).
Qed.

(** The scales of the steps tend to 1, if every unit has a weight that is not a loop. *)
Theorem steps_tend_to_one order s w :
  every_edge_on_closed_walk -> (forall e, w 0%nat e = w0 e) -> weight_balancing order s w ->
  (forall k, In k units -> exists e, In e edges /\ incidence e k <> 0) ->
  is_lim_seq s 1.
Proof.
  intros Hc H0 Hrun Hlive. destruct wf as (Hu & _).
  destruct (run_of_log_scales order s w H0 Hrun) as (h & _ & Hr & Hln).
  assert (L : is_lim_seq (fun n => ln (s n)) 0).
  { apply is_lim_seq_ext with (fun n => h (S n) (order n) - h n (order n)); [intros n; rewrite Hln; ring|].
    apply (moves_shrink eq_dec edges units incidence phi psi Hu phi_convex psi_continuous phi_coercive
      (closed_walks_circulation Hc) order h Hr Hlive). }
  apply is_lim_seq_ext with (fun n => exp (ln (s n))); [intros n; apply exp_ln, (Hrun n)|].
  rewrite <- exp_0.
  apply (is_lim_seq_continuous exp (fun n => ln (s n)) 0); [apply continuity_pt_filterlim, continuous_exp|exact L].
Qed.

End Weights.
End Graph.
