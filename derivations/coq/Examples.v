(** * The hypotheses can be met

    A theorem whose hypotheses contradict each other says nothing. Here each set of them is met by an
    explicit network. (Homogeneity, rescaling, the best scale and gradient flow have their examples in
    [Homogeneous], [Rescaling], [OptimalScale] and [Counterexamples].) *)

From Coq Require Import Arith.
From Balproof Require Import Sums Homogeneous OptimalScale Balance Convergence Graphs Gap Certificates Counterexamples.

(** ** Theorem 5.1: the network 1-2-2-1 and a recurrent pair without visible units *)

Ltac closed_walk :=
  repeat first [apply walk_nil | eapply (walk_cons _ fst snd (_, _)); [simpl; tauto|]].

Lemma net_1221_well_formed : well_formed net_1221 [0; 1; 2; 3]%nat fst snd.
Proof.
  split; [|split].
  - repeat constructor; simpl; intuition congruence.
  - repeat constructor; simpl; intuition congruence.
  - intros e k He Hk. simpl in He.
    repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
    destruct He.
Qed.

Lemma net_1221_closed : every_edge_on_closed_walk net_1221 fst snd.
Proof.
  intros e He. simpl in He.
  destruct He as [<-|[<-|[<-|[<-|[<-|[<-|[<-|[<-|[]]]]]]]]]; simpl fst; simpl snd.
  - eexists. apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 1%nat, Some 2%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 3%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 2%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (Some 3%nat, None)); [simpl; tauto|].
    apply (walk_cons _ fst snd (None, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 2%nat)); [simpl; tauto|]. apply walk_nil.
  - eexists. apply (walk_cons _ fst snd (None, Some 0%nat)); [simpl; tauto|].
    apply (walk_cons _ fst snd (Some 0%nat, Some 3%nat)); [simpl; tauto|]. apply walk_nil.
Qed.

Lemma pair_dec : forall d e : option nat * option nat, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

(** All weights 2 and p = 2: fair balancing exists, and it converges to the balanced weights. *)
Fact theorem_5_1_applies : exists order s w (W : option nat * option nat -> R),
  weight_balancing Nat.eq_dec net_1221 [0; 1; 2; 3]%nat fst snd 2 order s w /\ fair [0; 1; 2; 3]%nat order /\
  (forall e, In e net_1221 -> w 0%nat e = 2) /\
  weights_balanced Nat.eq_dec net_1221 [0; 1; 2; 3]%nat fst snd 2 W.
Proof.
  assert (Hnz : forall e, In e net_1221 -> (fun _ : option nat * option nat => 2) e <> 0) by (intros; lra).
  destruct (fair_order_exists [0; 1; 2; 3]%nat ltac:(discriminate)) as (order & Hin & Hfair).
  destruct (weight_runs_exist Nat.eq_dec pair_dec net_1221 _ fst snd net_1221_well_formed 2 ltac:(lra)
    (fun _ => 2) Hnz order net_1221_closed Hin) as (s & w & H0 & Hrun).
  destruct (stochastic_balancing Nat.eq_dec pair_dec net_1221 _ fst snd net_1221_well_formed 2 ltac:(lra)
    (fun _ => 2) Hnz net_1221_closed) as (W & _ & HW & _).
  exists order, s, w, W. auto.
Qed.

(** Two units that feed each other: no visible unit, and scales that are not unique. *)
Definition two_cycle : graph := [(Some 0, Some 1); (Some 1, Some 0)]%nat.

Fact recurrent_pair_attained :
  exists h, optimal two_cycle [0; 1]%nat matrix (fun e => power_cost 3 1) h.
Proof.
  assert (wf : well_formed two_cycle [0; 1]%nat fst snd).
  { split; [|split].
    - repeat constructor; simpl; intuition congruence.
    - repeat constructor; simpl; intuition congruence.
    - intros e k He Hk. simpl in He.
      repeat (destruct He as [<-|He]; [simpl in *; destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto|]).
      destruct He. }
  apply (existence_on_graphs Nat.eq_dec pair_dec two_cycle _ fst snd wf _ (fun _ => power_marginal 3 1)).
  - apply (power_costs_convex two_cycle (fun _ => 3) (fun _ => 1)). intros; lra.
  - intros e t _. apply (ex_derive_continuous (power_marginal 3 1)). unfold power_marginal. auto_derive. exact I.
  - intros e _. split.
    + exists 0. intros t. unfold power_cost. pose proof (exp_pos (1 * t)). lra.
    + intros m. exists m. intros s Hs. unfold power_cost. pose proof (exp_pos (1 * s)).
      pose proof (exp_ineq1_le (1 * s)). lra.
  - intros e t _. unfold power_marginal. pose proof (exp_pos (1 * t)). lra.
  - intros e He. simpl in He. destruct He as [<-|[<-|[]]]; simpl fst; simpl snd; eexists.
    + apply (walk_cons _ fst snd (Some 1%nat, Some 0%nat)); [simpl; tauto|]. apply walk_nil.
    + apply (walk_cons _ fst snd (Some 0%nat, Some 1%nat)); [simpl; tauto|]. apply walk_nil.
Qed.

(** ** General regularizers: the elastic net |w| + w^2 / 10 *)

Fact elastic_net_convex (w : nat -> R) : (forall e, w e <> 0) ->
  strictly_convex_costs [0; 1]%nat
    (fun e t => Rabs (w e) * exp t + (Rabs (w e) * exp t) ^ 2 / 10)
    (fun e t => Rabs (w e) * exp t * (1 + Rabs (w e) * exp t / 5)).
Proof.
  intros Hw.
  apply (general_costs_convex [0; 1]%nat w (fun _ x => x + x ^ 2 / 10) (fun _ x => 1 + x / 5)).
  intros e _. split; [apply Hw|split].
  - intros x _. auto_derive; [exact I|field].
  - intros x y Hxy. assert (x * x < y * y) by nra. lra.
Qed.

(** ** Certificates: one unit with incoming cost 1 and outgoing cost 1 *)

Definition one_hidden : graph := [(None, Some 0); (Some 0, None)]%nat.

Fact gap_is_zero_at_balance (h' : nat -> R) :
  total_cost one_hidden [0%nat] matrix (fun _ => power_cost 1 2) (fun _ => 0)
  <= total_cost one_hidden [0%nat] matrix (fun _ => power_cost 1 2) h'.
Proof.
  eapply Rle_trans; [|apply (chi_square_gap one_hidden [0%nat] matrix (fun _ => 1) (fun _ => 2)
    (fun _ _ => conj Rlt_0_1 Rlt_0_2) (fun _ => 1) (fun _ => 0) h')].
  - rewrite (sum_zero one_hidden); [lra|]. intros e _. unfold omega, power_cost, log_scale.
    rewrite (sum_zero [0%nat]) by (intros; ring). rewrite Rmult_0_r, exp_0. field.
  - intros; lra.
  - intros k [<-|[]]. unfold matrix, incidence, at_unit. simpl. ring.
Qed.

Fact box_applies : exists h', balanced one_hidden [0%nat] matrix (fun _ => power_marginal 1 1) h'
  /\ optimal one_hidden [0%nat] matrix (fun _ => power_cost 1 1) h'
  /\ forall k, In k [0%nat] -> Rabs (h' k - 0) <= 1 * 1.
Proof.
  apply (box_certificate Nat.eq_dec one_hidden [0%nat] matrix (fun _ => power_cost 1 1)
    (fun _ => power_marginal 1 1) (fun _ t => exp t) (fun _ => 0) (fun _ => 1) (fun _ => 0) 1).
  - apply incidence_opposite_signs.
  - apply (power_costs_convex one_hidden (fun _ => 1) (fun _ => 1)). intros; lra.
  - intros e t _. unfold power_marginal. auto_derive; [exact I|]. rewrite !Rmult_1_l. reflexivity.
  - lra.
  - intros; lra.
  - intros k t Hk Ht. unfold log_scale, matrix, incidence, at_unit. destruct Hk as [<-|[]]. simpl.
    match goal with |- context [exp ?x] => pose proof (exp_pos x) end.
    match goal with |- context [exp ?x] => pose proof (exp_pos x) end.
    apply Rle_trans with (0 + 0); [lra|].
    repeat match goal with |- context [exp ?x] => generalize (exp_pos x); generalize (exp x); intros end. lra.
  - intros k Hk. unfold imbalance, power_marginal, log_scale, matrix, incidence, at_unit.
    destruct Hk as [<-|[]]. simpl.
    match goal with |- Rabs ?x <= _ => replace x with 0; [rewrite Rabs_R0; lra|] end.
    rewrite !Rmult_0_r, !Rplus_0_r, Rmult_0_r, exp_0. ring.
Qed.
