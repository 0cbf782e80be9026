(** * Which log-scales of weights come from scales of units

    Claims [B.self-consistency] (Proposition 5.4 of [B]) and [B.path-cover] (Remark 5.6), for graphs of
    degree 1 with the visible units merged into one node, [None]. *)

From Coq Require Import Permutation.
From Balproof Require Import Sums Balance LinearAlgebra Convergence Graphs Existence Rank.

(** A list in which f repeats a value. *)
Lemma repeated {T S : Type} (f : T -> S) (l : list T) : ~ NoDup (map f l) ->
  exists l1 x l2 y l3, l = l1 ++ x :: l2 ++ y :: l3 /\ f x = f y.
Proof.
  induction l as [|x l IH]; intros H; [exfalso; apply H; constructor|].
  destruct (decide (In (f x) (map f l))) as [Hx|Hx].
  - apply in_map_iff in Hx as (y & Hy & Hin). apply in_split in Hin as (l2 & l3 & ->).
    exists [], x, l2, y, l3. auto.
  - destruct IH as (l1 & y & l2 & z & l3 & -> & Hf).
    { intros C. apply H. constructor; assumption. }
    exists (x :: l1), y, l2, z, l3. auto.
Qed.

Section Graph.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variables (edges : list E) (units : list U) (source target : E -> option U).

Notation A := (incidence eq_dec source target).
Notation walk := (walk edges source target).

(** ** Walks that take edges in both directions *)

(** An edge with [true] is taken from source to target, with [false] from target to source. *)
Definition start (x : E * bool) : option U := if snd x then source (fst x) else target (fst x).
Definition finish (x : E * bool) : option U := if snd x then target (fst x) else source (fst x).

Inductive route : option U -> option U -> list (E * bool) -> Prop :=
  | route_nil n : route n n []
  | route_cons x n l : In (fst x) edges -> route (finish x) n l -> route (start x) n (x :: l).

(** A cycle of the undirected graph: no node and no edge comes twice. *)
Definition cycle (l : list (E * bool)) : Prop :=
  (exists n, route n n l) /\ NoDup (map start l) /\ NoDup (map fst l).

Definition sign (s : bool) : R := if s then 1 else -1.

Definition signed_sum (L : E -> R) (l : list (E * bool)) : R := Σ x ∈ l, sign (snd x) * L (fst x).

(** How often each edge is taken, less how often it is taken backwards. *)
Definition signed_row (l : list (E * bool)) (e : E) : R :=
  Σ x ∈ l, if edge_dec (fst x) e then sign (snd x) else 0.

Hypothesis wf : well_formed edges units source target.

Lemma route_edges a b l : route a b l -> forall x, In x l -> In (fst x) edges.
Proof. induction 1 as [|x n l Hx _ IH]; intros y []; [subst; exact Hx|auto]. Qed.

Lemma route_app a b c l l' : route a b l -> route b c l' -> route a c (l ++ l').
Proof. intros W W'. induction W as [n|x n l Hx _ IH]; [exact W'|]. apply route_cons; auto. Qed.

Lemma route_split a b l l' : route a b (l ++ l') -> exists n, route a n l /\ route n b l'.
Proof.
  revert a. induction l as [|x l IH]; simpl; intros a W.
  - exists a. split; [apply route_nil|exact W].
  - inversion W as [|y n l0 Hx W']; subst. destruct (IH _ W') as (n & H1 & H2).
    exists n. split; [apply route_cons; assumption|exact H2].
Qed.

Lemma route_first a b x l : route a b (x :: l) -> a = start x /\ In (fst x) edges /\ route (finish x) b l.
Proof. inversion 1; subst. auto. Qed.

Lemma signed_sum_app L l l' : signed_sum L (l ++ l') = signed_sum L l + signed_sum L l'.
Proof. apply sum_app. Qed.

Lemma dot_signed_row L l : (forall x, In x l -> In (fst x) edges) ->
  dot edges (signed_row l) L = signed_sum L l.
Proof.
  intros H. unfold dot, signed_row, signed_sum.
  rewrite (sum_ext edges _ (fun e => Σ x ∈ l, if edge_dec e (fst x) then sign (snd x) * L e else 0)).
  - rewrite sum_swap. apply sum_ext. intros x Hx.
    apply (sum_pick edge_dec edges (fun e => sign (snd x) * L e)); [apply wf|apply H, Hx].
  - intros e _. rewrite <- sum_scal_r. apply sum_ext. intros x _.
    destruct (edge_dec (fst x) e) as [X|X], (edge_dec e (fst x)) as [Y|Y]; subst; try contradiction;
      try (exfalso; apply X; reflexivity); try (exfalso; apply Y; reflexivity); ring.
Qed.

(** Along a route the log-scales of a rescaling add up to those of its ends. *)
Lemma signed_sum_potential (pot : option U -> R) (L : E -> R) a b l :
  (forall x, In x l -> L (fst x) = pot (target (fst x)) - pot (source (fst x))) -> route a b l ->
  signed_sum L l = pot b - pot a.
Proof.
  intros H W. unfold signed_sum. induction W as [n|[e s] n l _ _ IH]; simpl; [ring|].
  rewrite IH by (intros x Hx; apply H; right; exact Hx). pose proof (H (e, s) (or_introl eq_refl)) as X.
  simpl in X. rewrite X. unfold finish, start, sign. destruct s; simpl; ring.
Qed.

Lemma potential_scale (L : E -> R) :
  (exists h, forall e, In e edges -> log_scale units A h e = L e) <->
  (exists pot : option U -> R, forall e, In e edges -> L e = pot (target e) - pot (source e)).
Proof.
  split.
  - intros [h Hh]. exists (node_scale h). intros e He.
    rewrite <- Hh by exact He. apply (incidence_scale eq_dec edges units source target wf), He.
  - intros [pot Hp]. exists (fun k => pot (Some k) - pot None). intros e He.
    rewrite (incidence_scale eq_dec edges units source target wf) by exact He. rewrite Hp by exact He.
    destruct (target e), (source e); simpl; ring.
Qed.

Lemma columns_vanish x k :
  (forall L, (exists h, forall e, In e edges -> log_scale units A h e = L e) -> dot edges x L = 0) ->
  In k units -> dot edges x (fun e => A e k) = 0.
Proof.
  intros H Hk. apply H. exists (fun j => if eq_dec j k then 1 else 0). intros e _. unfold log_scale.
  rewrite <- (sum_pick eq_dec units (fun j => A e j) k (proj1 wf) Hk). apply sum_ext. intros j _.
  destruct (eq_dec j k); ring.
Qed.

(** ** Cycles decide *)

(** A closed route is made of cycles, but for edges that are taken forth and back. *)
Lemma cycles_make_closed_routes (L : E -> R) :
  (forall l, cycle l -> signed_sum L l = 0) -> forall a l, route a a l -> signed_sum L l = 0.
Proof.
  intros H. assert (X : forall n a l, (length l <= n)%nat -> route a a l -> signed_sum L l = 0).
  { induction n as [|n IH]; intros a l Hlen W; [destruct l; [reflexivity|simpl in Hlen; lia]|].
    destruct (decide (NoDup (map start l))) as [N|N].
    - destruct (decide (NoDup (map fst l))) as [N'|N']; [apply H; split; [exists a; exact W|auto]|].
      apply repeated in N' as (l1 & [e s] & l2 & [e' s'] & l3 & -> & He). simpl in He. subst e'.
      assert (Hs : s' = negb s).
      { destruct (Bool.bool_dec s' s) as [->|C]; [|destruct s, s'; try reflexivity; contradiction].
        exfalso. rewrite map_app in N. simpl in N. rewrite map_app in N. apply NoDup_remove_2 in N. apply N.
        apply in_or_app. right. apply in_or_app. right. left. reflexivity. }
      subst s'. apply route_split in W as (b & W1 & W2). apply route_first in W2 as (-> & He & W2).
      apply route_split in W2 as (b & W2 & W3). apply route_first in W3 as (-> & _ & W3).
      assert (F : finish (e, negb s) = start (e, s) /\ start (e, negb s) = finish (e, s))
        by (unfold finish, start; destruct s; auto).
      destruct F as [F1 F2]. rewrite F1 in W3. rewrite F2 in W2.
      repeat (rewrite ?app_length in Hlen; simpl in Hlen).
      pose proof (IH a (l1 ++ l3) ltac:(rewrite app_length; lia) (route_app _ _ _ _ _ W1 W3)) as S1.
      pose proof (IH _ l2 ltac:(lia) W2) as S2.
      rewrite signed_sum_app in S1. rewrite signed_sum_app. unfold signed_sum at 2. simpl.
      fold (signed_sum L (l2 ++ (e, negb s) :: l3)). rewrite signed_sum_app.
      unfold signed_sum at 3. simpl. fold (signed_sum L l3). unfold sign. destruct s; simpl; lra.
    - apply repeated in N as (l1 & x & l2 & y & l3 & -> & Hxy).
      apply route_split in W as (b & W1 & W2).
      pose proof (route_first _ _ _ _ W2) as (-> & _ & _).
      rewrite app_comm_cons in W2. apply route_split in W2 as (b & W2 & W3).
      pose proof (route_first _ _ _ _ W3) as (-> & _ & _). rewrite <- Hxy in *.
      repeat (rewrite ?app_length in Hlen; simpl in Hlen).
      pose proof (IH a (l1 ++ y :: l3) ltac:(rewrite app_length; simpl; lia) (route_app _ _ _ _ _ W1 W3)) as S1.
      pose proof (IH _ (x :: l2) ltac:(simpl; lia) W2) as S2.
      rewrite signed_sum_app in S1. rewrite signed_sum_app, app_comm_cons, signed_sum_app. lra. }
  intros a l. apply (X (length l)). apply le_n.
Qed.

Lemma linked_route G a b : incl G edges -> linked G source target a b ->
  exists l, route a b l /\ forall x, In x l -> In (fst x) G.
Proof.
  intros HG K. induction K as [n|e a He _ (l & W & Hl)|e a He _ (l & W & Hl)].
  - exists []. split; [apply route_nil|intros x []].
  - exists (l ++ [(e, true)]). split.
    + apply (route_app _ (source e)); [exact W|]. apply (route_cons (e, true)); [apply HG, He|apply route_nil].
    + intros x Hx. apply in_app_or in Hx as [Hx|[<-|[]]]; [apply Hl, Hx|exact He].
  - exists (l ++ [(e, false)]). split.
    + apply (route_app _ (target e)); [exact W|]. apply (route_cons (e, false)); [apply HG, He|apply route_nil].
    + intros x Hx. apply in_app_or in Hx as [Hx|[<-|[]]]; [apply Hl, Hx|exact He].
Qed.

(** What sums to 0 around closed routes is a difference of potentials: edge by edge, either the ends are
    linked already, or one side is shifted. *)
Lemma potential_exists (L : E -> R) : (forall a l, route a a l -> signed_sum L l = 0) ->
  exists pot : option U -> R, forall e, In e edges -> L e = pot (target e) - pot (source e).
Proof.
  intros H. assert (X : forall G, incl G edges -> exists pot : option U -> R,
    forall e, In e G -> L e = pot (target e) - pot (source e)).
  { induction G as [|e G IH]; intros HG; [exists (fun _ => 0); intros e []|].
    assert (He : In e edges) by (apply HG; left; reflexivity).
    assert (HG' : incl G edges) by (intros d Hd; apply HG; right; exact Hd).
    destruct (IH HG') as [pot Hpot].
    destruct (decide (linked G source target (target e) (source e))) as [K|K].
    - exists pot. intros d [<-|Hd]; [|apply Hpot, Hd].
      destruct (linked_route G _ _ HG' K) as (l & W & Hl).
      pose proof (H (source e) ((e, true) :: l) (route_cons (e, true) _ _ He W)) as S0.
      pose proof (signed_sum_potential pot L _ _ l (fun x Hx => Hpot _ (Hl x Hx)) W) as S1.
      unfold signed_sum in S0, S1. simpl in S0. lra.
    - set (d := L e - pot (target e) + pot (source e)).
      exists (fun n => pot n + (if decide (linked G source target (target e) n) then d else 0)).
      intros e' [<-|He'].
      + destruct (decide (linked G source target (target e) (target e))) as [_|C].
        * destruct (decide (linked G source target (target e) (source e))); [contradiction|]. unfold d. ring.
        * exfalso. apply C, linked_refl.
      + rewrite (Hpot e' He').
        destruct (decide (linked G source target (target e) (target e'))) as [T|T],
          (decide (linked G source target (target e) (source e'))) as [S|S]; try ring.
        * exfalso. apply S, linked_against; assumption.
        * exfalso. apply T, linked_with; assumption. }
  apply X, incl_refl.
Qed.

(** Log-scales are those of a rescaling just if they sum to 0 around all cycles. *)
Theorem cycles_decide (L : E -> R) :
  (exists h, forall e, In e edges -> log_scale units A h e = L e) <-> (forall l, cycle l -> signed_sum L l = 0).
Proof.
  rewrite potential_scale. split.
  - intros [pot Hp] l ((n & W) & _). rewrite (signed_sum_potential pot L n n l); [ring| |exact W].
    intros x Hx. apply Hp, (route_edges _ _ _ W x Hx).
  - intros H. apply potential_exists. intros a l. apply cycles_make_closed_routes, H.
Qed.

(** ** Cycle bases *)

(** Independent cycles, of which all cycles are combinations. *)
Definition cycle_basis (C : list (list (E * bool))) : Prop :=
  (forall l, In l C -> cycle l) /\ independent edges (map signed_row C) /\
  (forall l, cycle l -> in_span edges (map signed_row C) (signed_row l)).

Lemma cycle_sum L l : cycle l -> dot edges L (signed_row l) = signed_sum L l.
Proof. intros ((n & W) & _). rewrite dot_comm. apply dot_signed_row, (route_edges _ _ _ W). Qed.

Theorem cycle_basis_exists : exists C, cycle_basis C.
Proof.
  assert (X : forall n C, (forall l, In l C -> cycle l) -> independent edges (map signed_row C) ->
    (length edges <= length C + n)%nat -> exists C', cycle_basis C').
  { induction n as [|n IH]; intros C HC Hi Hlen;
      (destruct (decide (forall l, cycle l -> in_span edges (map signed_row C) (signed_row l))) as [D|D];
       [exists C; split; [exact HC|split; assumption]|]);
      (assert (exists l, cycle l /\ ~ in_span edges (map signed_row C) (signed_row l)) as (l & Hl & Hout);
       [apply Classical_Prop.NNPP; intros N; apply D; intros l Hl; apply Classical_Prop.NNPP; intros F;
        apply N; exists l; split; assumption|]).
    - exfalso.
      assert (length (map signed_row (l :: C)) <= length (map (pick edge_dec) edges))%nat.
      { apply (independent_length edges); [split; assumption|].
        intros x _. apply picks_span. intros e He F. contradiction. }
      rewrite !map_length in H. simpl in H. lia.
    - apply (IH (l :: C)); [intros l' [<-|Hl']; auto|split; assumption|simpl; lia]. }
  apply (X (length edges) []); [intros l []|exact I|simpl; lia].
Qed.

(** [B.self-consistency]: around the cycles of a cycle basis it is enough. *)
Theorem cycle_basis_decides C (L : E -> R) : cycle_basis C ->
  (exists h, forall e, In e edges -> log_scale units A h e = L e) <-> (forall l, In l C -> signed_sum L l = 0).
Proof.
  intros (HC & _ & Hspan). rewrite cycles_decide. split; [auto|].
  intros H l Hl. rewrite <- (cycle_sum L l Hl). apply (dot_span edges (map signed_row C)); [|apply Hspan, Hl].
  intros x Hx. apply in_map_iff in Hx as (l' & <- & Hl'). rewrite (cycle_sum L l' (HC l' Hl')). auto.
Qed.

(** Their number, for any graph of m weights: m less the rank of A. *)
Theorem cycle_basis_count C : cycle_basis C ->
  (length C + rank edges (columns A units) = length edges)%nat.
Proof.
  intros HC. pose proof HC as (Hcyc & Hi & _). destruct wf as (Hu & _).
  rewrite <- (map_length signed_row C), <- (rank_independent edges (map signed_row C) Hi).
  apply (rank_criterion edge_dec edges (proj1 (proj2 wf)) eq_dec A units (map signed_row C) Hu).
  - intros x k Hx Hk. apply in_map_iff in Hx as (l & <- & Hl). apply columns_vanish; [|exact Hk].
    intros L HL. rewrite dot_comm, cycle_sum by auto. apply (cycle_basis_decides C L HC); assumption.
  - intros L. rewrite (cycle_basis_decides C L HC). split.
    + intros H x Hx. apply in_map_iff in Hx as (l & <- & Hl). rewrite dot_comm, cycle_sum by auto. auto.
    + intros H l Hl. rewrite <- cycle_sum, dot_comm by auto. apply H, in_map, Hl.
Qed.

(** ** Where every unit is in one component with the visible node *)

Definition visible_in_each_component : Prop := forall k, In k units -> linked edges source target None (Some k).

Lemma linked_scale h a b : (forall e, In e edges -> log_scale units A h e = 0) ->
  linked edges source target a b -> node_scale h a = node_scale h b.
Proof.
  intros H K. induction K as [n|e a He _ IH|e a He _ IH]; [reflexivity| |];
    pose proof (H e He) as Z; rewrite (incidence_scale eq_dec edges units source target wf) in Z by exact He; lra.
Qed.

(** [B.self-consistency]: then the scales of the units are unique. *)
Theorem scales_unique h h' : visible_in_each_component ->
  (forall e, In e edges -> log_scale units A h e = log_scale units A h' e) -> forall k, In k units -> h k = h' k.
Proof.
  intros Hv Heq k Hk.
  assert (Z : node_scale (fun k => h' k - h k) None = node_scale (fun k => h' k - h k) (Some k)).
  { apply linked_scale; [|apply Hv, Hk]. intros e He. rewrite log_scale_minus, Heq by exact He. ring. }
  simpl in Z. lra.
Qed.

Lemma full_rank : visible_in_each_component -> rank edges (columns A units) = length units.
Proof.
  intros Hv. destruct wf as (Hu & _). rewrite <- (map_length (fun k e => A e k) units).
  apply rank_independent, (columns_independent edges eq_dec A units Hu). intros h Hh k Hk.
  symmetry. apply (linked_scale h None (Some k) Hh), Hv, Hk.
Qed.

(** [B.self-consistency]: m weights and n hidden units in one component with the visible node: m - n
    independent equations. *)
Theorem cycle_basis_count_connected C : cycle_basis C -> visible_in_each_component ->
  (length C + length units = length edges)%nat.
Proof. intros HC Hv. rewrite <- (full_rank Hv). apply cycle_basis_count, HC. Qed.

(** ** Directed paths and cycles *)

Definition path_sum (L : E -> R) (l : list E) : R := Σ e ∈ l, L e.

(** From a visible unit to a visible unit, through no node twice. *)
Definition input_output_path (l : list E) : Prop := walk None None l /\ NoDup (map source l).

(** Through hidden units alone, through none twice. *)
Definition directed_cycle (l : list E) : Prop :=
  (exists k, walk (Some k) (Some k) l) /\ NoDup (map source l) /\ ~ In None (map source l).

Definition every_unit_on_walk : Prop :=
  forall k, In k units -> (exists l, walk None (Some k) l) /\ (exists l, walk (Some k) None l).

Lemma walk_split a b l l' : walk a b (l ++ l') -> exists n, walk a n l /\ walk n b l'.
Proof.
  revert a. induction l as [|x l IH]; simpl; intros a W.
  - exists a. split; [apply walk_nil|exact W].
  - inversion W as [|y n l0 Hx W']; subst. destruct (IH _ W') as (n & H1 & H2).
    exists n. split; [apply walk_cons; assumption|exact H2].
Qed.

Lemma walk_first a b e l : walk a b (e :: l) -> a = source e /\ In e edges /\ walk (target e) b l.
Proof. inversion 1; subst. auto. Qed.

Lemma path_sum_app L l l' : path_sum L (l ++ l') = path_sum L l + path_sum L l'.
Proof. apply sum_app. Qed.

Lemma path_sum_potential (pot : option U -> R) (L : E -> R) a b l :
  (forall e, In e edges -> L e = pot (target e) - pot (source e)) -> walk a b l -> path_sum L l = pot b - pot a.
Proof.
  intros H W. unfold path_sum. induction W as [n|e n l He _ IH]; simpl; [ring|]. rewrite IH, (H e He). ring.
Qed.

Lemma paths_make_closed_walks (L : E -> R) :
  (forall l, input_output_path l -> path_sum L l = 0) -> (forall l, directed_cycle l -> path_sum L l = 0) ->
  forall a l, walk a a l -> path_sum L l = 0.
Proof.
  intros HP HC. assert (X : forall n a l, (length l <= n)%nat -> walk a a l -> path_sum L l = 0).
  { induction n as [|n IH]; intros a l Hlen W; [destruct l; [reflexivity|simpl in Hlen; lia]|].
    destruct (decide (NoDup (map source l))) as [N|N].
    - destruct a as [k|]; [|apply HP; split; assumption].
      destruct (decide (In None (map source l))) as [V|V]; [|apply HC; split; [exists k; exact W|auto]].
      (* a cycle through the visible node is a path that starts elsewhere *)
      apply in_map_iff in V as (e & He & Hin). apply in_split in Hin as (l1 & l2 & ->).
      apply walk_split in W as (b & W1 & W2). pose proof (walk_first _ _ _ _ W2) as (Hb & _ & _).
      rewrite He in Hb. subst b.
      rewrite path_sum_app, Rplus_comm, <- path_sum_app. apply HP. split.
      + apply (walk_app edges source target None (Some k) None); assumption.
      + apply (Permutation_NoDup (l := map source (l1 ++ e :: l2))); [|exact N].
        apply Permutation_map, Permutation_app_comm.
    - apply repeated in N as (l1 & x & l2 & y & l3 & -> & Hxy).
      apply walk_split in W as (b & W1 & W2).
      pose proof (walk_first _ _ _ _ W2) as (-> & _ & _).
      rewrite app_comm_cons in W2. apply walk_split in W2 as (b & W2 & W3).
      pose proof (walk_first _ _ _ _ W3) as (-> & _ & _). rewrite <- Hxy in *.
      repeat (rewrite ?app_length in Hlen; simpl in Hlen).
      pose proof (IH a (l1 ++ y :: l3) ltac:(rewrite app_length; simpl; lia)
        (walk_app edges source target _ _ _ _ _ W1 W3)) as S1.
      pose proof (IH _ (x :: l2) ltac:(simpl; lia) W2) as S2.
      rewrite path_sum_app in S1. rewrite path_sum_app, app_comm_cons, path_sum_app. lra. }
  intros a l. apply (X (length l)). apply le_n.
Qed.

(** [B.self-consistency]: the directed paths from input to output and the directed cycles are enough if every
    unit lies on a walk from an input to an output. *)
Theorem paths_and_cycles_decide (L : E -> R) : every_unit_on_walk ->
  (exists h, forall e, In e edges -> log_scale units A h e = L e) <->
  ((forall l, input_output_path l -> path_sum L l = 0) /\ (forall l, directed_cycle l -> path_sum L l = 0)).
Proof.
  intros Hall. rewrite potential_scale. split.
  - intros [pot Hp].
    assert (Z : forall a l, walk a a l -> path_sum L l = 0)
      by (intros a l W; rewrite (path_sum_potential pot L a a l Hp W); ring).
    split; [intros l [W _]; exact (Z _ _ W)|intros l [[k W] _]; exact (Z _ _ W)].
  - intros [HP HC]. pose proof (paths_make_closed_walks L HP HC) as Z.
    (* the potential of a unit is the sum along some walk to it *)
    assert (X : forall S, incl S units -> exists h : U -> R,
      forall k, In k S -> exists l, walk None (Some k) l /\ path_sum L l = h k).
    { induction S as [|k S IH]; intros HS; [exists (fun _ => 0); intros k []|].
      destruct IH as [h Hh]; [intros j Hj; apply HS; right; exact Hj|].
      destruct (Hall k (HS k (or_introl eq_refl))) as [[l Hl] _].
      exists (put eq_dec h k (path_sum L l)). intros j Hj. unfold put. destruct (eq_dec j k) as [->|Hne].
      - exists l. auto.
      - destruct Hj as [->|Hj]; [contradiction|apply Hh, Hj]. }
    destruct (X units (incl_refl _)) as [h Hh]. exists (node_scale h).
    assert (Node : forall n, (forall k, n = Some k -> In k units) ->
      (exists l, walk None n l /\ path_sum L l = node_scale h n) /\ (exists l, walk n None l)).
    { intros [k|] Hk; [split; [apply Hh|apply Hall]; auto|].
      split; exists []; [split; [apply walk_nil|reflexivity]|apply walk_nil]. }
    destruct wf as (_ & _ & Hends). intros e He.
    destruct (Node (source e)) as [(l1 & W1 & S1) _]; [intros k Hk; apply (Hends e k He); auto|].
    destruct (Node (target e)) as [(l2 & W2 & S2) (l3 & W3)]; [intros k Hk; apply (Hends e k He); auto|].
    pose proof (Z _ _ (walk_app edges source target _ _ _ _ _ W1
      (walk_cons edges source target e None l3 He W3))) as Z1.
    pose proof (Z _ _ (walk_app edges source target _ _ _ _ _ W2 W3)) as Z2.
    rewrite path_sum_app in Z1, Z2. unfold path_sum at 2 in Z1. simpl in Z1. fold (path_sum L l3) in Z1. lra.
Qed.

(** ** Which paths are enough *)

(** How often a path uses each weight: 0 or 1. *)
Definition uses (l : list E) (e : E) : R := Σ d ∈ l, if edge_dec d e then 1 else 0.

Lemma uses_sum L l : (forall e, In e l -> In e edges) -> dot edges (uses l) L = path_sum L l.
Proof.
  intros H. unfold dot, uses, path_sum.
  rewrite (sum_ext edges _ (fun e => Σ d ∈ l, if edge_dec e d then L e else 0)).
  - rewrite sum_swap. apply sum_ext. intros d Hd. apply (sum_pick edge_dec edges L); [apply wf|apply H, Hd].
  - intros e _. rewrite <- sum_scal_r. apply sum_ext. intros d _.
    destruct (edge_dec d e) as [X|X], (edge_dec e d) as [Y|Y]; subst; try contradiction;
      try (exfalso; apply X; reflexivity); try (exfalso; apply Y; reflexivity); ring.
Qed.

Lemma walk_edges a b l : walk a b l -> forall e, In e l -> In e edges.
Proof. induction 1 as [|e n l He _ IH]; intros d []; [subst; exact He|auto]. Qed.

(** [B.path-cover], the criterion: zero sums along the paths of a set P single out the self-consistent
    log-scales just if rank P = m - rank A. *)
Theorem path_criterion (P : list (list E)) : (forall l, In l P -> input_output_path l) ->
  (forall L, (exists h, forall e, In e edges -> log_scale units A h e = L e) <-> (forall l, In l P -> path_sum L l = 0))
  <-> (rank edges (map uses P) + rank edges (columns A units) = length edges)%nat.
Proof.
  intros HP. destruct wf as (Hu & Hed & _).
  assert (Sum : forall L l, In l P -> dot edges (uses l) L = path_sum L l).
  { intros L l Hl. apply uses_sum, (walk_edges None None), (HP l Hl). }
  rewrite <- (rank_criterion edge_dec edges Hed eq_dec A units (map uses P) Hu).
  - split; intros H L; rewrite (H L); split.
    + intros HL x Hx. apply in_map_iff in Hx as (l & <- & Hl). rewrite Sum by exact Hl. auto.
    + intros HL l Hl. rewrite <- Sum by exact Hl. apply HL, in_map, Hl.
    + intros HL l Hl. rewrite <- Sum by exact Hl. apply HL, in_map, Hl.
    + intros HL x Hx. apply in_map_iff in Hx as (l & <- & Hl). rewrite Sum by exact Hl. auto.
  - intros x k Hx Hk. apply in_map_iff in Hx as (l & <- & Hl). apply columns_vanish; [|exact Hk].
    intros L HL. apply potential_scale in HL as [pot Hp]. rewrite Sum by exact Hl.
    rewrite (path_sum_potential pot L None None l Hp); [ring|apply HP, Hl].
Qed.

Lemma walk_linked a b l : walk a b l -> forall n, linked edges source target n a -> linked edges source target n b.
Proof. induction 1 as [c|e c l He _ IH]; intros n K; [exact K|]. apply IH, linked_with; assumption. Qed.

(** [B.path-cover], the count: with every unit on a walk from input to output, rank P = m - n for n hidden
    units. *)
Theorem path_criterion_count (P : list (list E)) : (forall l, In l P -> input_output_path l) -> every_unit_on_walk ->
  (forall L, (exists h, forall e, In e edges -> log_scale units A h e = L e) <-> (forall l, In l P -> path_sum L l = 0))
  <-> (rank edges (map uses P) + length units = length edges)%nat.
Proof.
  intros HP Hall. rewrite (path_criterion P HP), full_rank; [reflexivity|].
  intros k Hk. destruct (Hall k Hk) as [[l W] _]. apply (walk_linked _ _ _ W), linked_refl.
Qed.

End Graph.
