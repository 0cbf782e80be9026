(** * Ranks

    Vectors are functions on the list of weights. The rank of a list of vectors is the number of those that
    are no combination of the ones behind them; it depends on what they span alone. *)

From Balproof Require Import Sums Balance LinearAlgebra Graphs.

Section Rank.
Context {E : Type} (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variable edges : list E.

Notation vector := (E -> R).

Definition dot (v w : vector) : R := Σ e ∈ edges, v e * w e.

(** v is a combination of the vectors of the list. *)
Fixpoint in_span (l : list vector) (v : vector) : Prop :=
  match l with
  | [] => forall e, In e edges -> v e = 0
  | x :: r => exists c, in_span r (fun e => v e - c * x e)
  end.

Fixpoint independent (l : list vector) : Prop :=
  match l with
  | [] => True
  | x :: r => ~ in_span r x /\ independent r
  end.

Fixpoint rank (l : list vector) : nat :=
  match l with
  | [] => O
  | x :: r => if decide (in_span r x) then rank r else S (rank r)
  end.

(** ** Spans *)

Lemma in_span_ext l : forall v w, (forall e, In e edges -> v e = w e) -> in_span l v -> in_span l w.
Proof.
  induction l as [|x l IH]; simpl; intros v w H Hv.
  - intros e He. rewrite <- H by exact He. apply Hv, He.
  - destruct Hv as [c Hc]. exists c. apply (IH _ _ (fun e He => f_equal (fun y => y - c * x e) (H e He)) Hc).
Qed.

Lemma in_span_mix l : forall a b v w, in_span l v -> in_span l w -> in_span l (fun e => a * v e + b * w e).
Proof.
  induction l as [|x l IH]; simpl; intros a b v w Hv Hw.
  - intros e He. rewrite Hv, Hw by exact He. ring.
  - destruct Hv as [c Hc], Hw as [d Hd]. exists (a * c + b * d).
    apply (in_span_ext l (fun e => a * (v e - c * x e) + b * (w e - d * x e))); [intros; ring|].
    apply IH; assumption.
Qed.

Lemma in_span_zero l v : (forall e, In e edges -> v e = 0) -> in_span l v.
Proof.
  revert v. induction l as [|x l IH]; simpl; intros v H; [exact H|]. exists 0. apply IH.
  intros e He. rewrite H by exact He. ring.
Qed.

Lemma in_span_more x l v : in_span l v -> in_span (x :: l) v.
Proof. intros H. exists 0. apply (in_span_ext l v); [intros; ring|exact H]. Qed.

Lemma in_span_member l x : In x l -> in_span l x.
Proof.
  induction l as [|y l IH]; simpl; intros [].
  - subst. exists 1. apply in_span_zero. intros; ring.
  - apply in_span_more, IH. assumption.
Qed.

Lemma in_span_trans l l' v : (forall x, In x l -> in_span l' x) -> in_span l v -> in_span l' v.
Proof.
  revert v. induction l as [|x l IH]; simpl; intros v H Hv; [apply in_span_zero, Hv|].
  destruct Hv as [c Hc].
  apply (in_span_ext l' (fun e => 1 * (v e - c * x e) + c * x e)); [intros; ring|].
  apply in_span_mix; [apply IH; auto|apply H; auto].
Qed.

Lemma dot_mix x a b v w : dot x (fun e => a * v e + b * w e) = a * dot x v + b * dot x w.
Proof. unfold dot. rewrite <- !sum_scal, <- sum_plus. apply sum_ext. intros; ring. Qed.

Lemma dot_comm v w : dot v w = dot w v.
Proof. apply sum_ext. intros; ring. Qed.

Lemma dot_ext x v w : (forall e, In e edges -> v e = w e) -> dot x v = dot x w.
Proof. intros H. apply sum_ext. intros e He. rewrite H by exact He. reflexivity. Qed.

(** What vanishes on the vectors of a list vanishes on their combinations. *)
Lemma dot_span l y v : (forall x, In x l -> dot y x = 0) -> in_span l v -> dot y v = 0.
Proof.
  revert v. induction l as [|x l IH]; simpl; intros v H Hv.
  - apply sum_zero. intros e He. rewrite Hv by exact He. ring.
  - destruct Hv as [c Hc]. rewrite (dot_ext y v (fun e => 1 * (v e - c * x e) + c * x e)) by (intros; ring).
    rewrite dot_mix, (IH _ (fun z Hz => H z (or_intror Hz)) Hc), H by auto. ring.
Qed.

(** What is no combination is told from them by some functional. *)
Lemma span_or_separated l : forall v,
  in_span l v \/ exists b, (forall x, In x l -> dot b x = 0) /\ dot b v = 1.
Proof.
  induction l as [|s l IH]; intros v.
  - destruct (Req_dec (dot v v) 0) as [Z|Z].
    + left. intros e He. assert (v e * v e = 0).
      { apply (sum_eq_zero edges (fun e => v e * v e)); auto; [intros; apply Rle_0_sqr|unfold dot in Z; lra]. }
      destruct (Rmult_integral _ _ H); auto.
    + right. exists (fun e => / dot v v * v e + 0 * v e). split; [intros x []|].
      rewrite dot_comm, dot_mix. field. exact Z.
  - destruct (IH v) as [Hv|(b0 & Hb0 & Hb1)]; [left; apply in_span_more, Hv|].
    destruct (IH s) as [Hs|(b & Hb & Hbs)].
    + right. exists b0. split; [|exact Hb1]. intros x [<-|Hx]; [apply (dot_span l); assumption|auto].
    + destruct (IH (fun e => 1 * v e + - dot b v * s e)) as [H|(b1 & H0 & H1)].
      * left. exists (dot b v). apply (in_span_ext l (fun e => 1 * v e + - dot b v * s e)); [intros; ring|exact H].
      * right. exists (fun e => 1 * b1 e + - dot b1 s * b e). rewrite dot_mix in H1.
        assert (D : forall x, dot (fun e => 1 * b1 e + - dot b1 s * b e) x = dot b1 x - dot b1 s * dot b x).
        { intros x. rewrite dot_comm, dot_mix, !(dot_comm x). ring. }
        split; [|rewrite D; lra]. intros x Hx. rewrite D.
        destruct Hx as [<-|Hx]; [rewrite Hbs; ring|rewrite H0, Hb by exact Hx; ring].
Qed.

(** ** Dimension *)

(** A functional that does not vanish on independent vectors cuts their number by one. *)
Lemma cut f l : independent l ->
  (forall x, In x l -> dot f x = 0) \/
  exists l' y, independent l' /\ length l = S (length l') /\
    (forall x, In x l' -> in_span l x /\ dot f x = 0) /\
    (forall v, in_span l v -> dot f v = 0 -> in_span l' v) /\ in_span l y /\ dot f y = 1.
Proof.
  induction l as [|x l IH]; simpl; intros Hi; [left; intros y []|]. destruct Hi as [Hx Hi].
  destruct (IH Hi) as [Z|(l' & y & Hi' & Hlen & Hmem & Hall & Hy & Hfy)].
  - destruct (Req_dec (dot f x) 0) as [Zx|Zx].
    + left. intros y [<-|Hy]; auto.
    + right. exists l, (fun e => / dot f x * x e + 0 * x e). split; [exact Hi|]. split; [reflexivity|].
      split; [intros y Hy; split; [apply in_span_more, in_span_member, Hy|apply Z, Hy]|]. split; [|split].
      * intros v [c Hc] Hv. assert (C : c = 0).
        { pose proof (dot_span l f _ Z Hc) as D.
          rewrite (dot_ext f _ (fun e => 1 * v e + - c * x e)) in D by (intros; ring).
          rewrite dot_mix, Hv in D. assert (c * dot f x = 0) by lra.
          destruct (Rmult_integral _ _ H); [assumption|contradiction]. }
        apply (in_span_ext l (fun e => v e - c * x e)); [intros; rewrite C; ring|exact Hc].
      * exists (/ dot f x). apply in_span_zero. intros; ring.
      * rewrite dot_mix. field. exact Zx.
  - right. exists ((fun e => 1 * x e + - dot f x * y e) :: l'), y. split; [split; [|exact Hi']|].
    { intros C. apply Hx.
      assert (C' : in_span l (fun e => 1 * x e + - dot f x * y e))
        by (apply (in_span_trans l'); [apply Hmem|exact C]).
      apply (in_span_ext l (fun e => 1 * (1 * x e + - dot f x * y e) + dot f x * y e)); [intros; ring|].
      apply in_span_mix; assumption. }
    split; [simpl; rewrite Hlen; reflexivity|]. split; [|split; [|split]].
    + intros z [<-|Hz].
      * split; [|rewrite dot_mix, Hfy; ring].
        apply (in_span_mix (x :: l)); [apply (in_span_member (x :: l)); left; reflexivity|apply in_span_more, Hy].
      * destruct (Hmem z Hz). split; [apply in_span_more|]; assumption.
    + intros v [c Hc] Hv. exists c. apply Hall.
      * apply (in_span_ext l (fun e => 1 * (v e - c * x e) + c * dot f x * y e)); [intros; ring|].
        apply in_span_mix; assumption.
      * rewrite (dot_ext f _ (fun e => 1 * v e + - c * (1 * x e + - dot f x * y e))) by (intros; ring).
        rewrite !dot_mix, Hv, Hfy. ring.
    + apply in_span_more, Hy.
    + exact Hfy.
Qed.

(** Independent vectors are no more than those that span them. *)
Theorem independent_length l' : forall l, independent l -> (forall x, In x l -> in_span l' x) ->
  (length l <= length l')%nat.
Proof.
  induction l' as [|y s IH]; intros l Hi Hspan.
  - destruct l as [|x l]; [simpl; lia|]. exfalso. destruct Hi as [Hx _]. apply Hx, in_span_zero.
    exact (Hspan x (or_introl eq_refl)).
  - destruct (span_or_separated s y) as [Hy|(b & Hb & Hby)].
    + assert (length l <= length s)%nat; [|simpl; lia]. apply IH; [exact Hi|]. intros x Hx.
      apply (in_span_trans (y :: s)); [|apply Hspan, Hx]. intros z [<-|Hz]; [exact Hy|apply in_span_member, Hz].
    + (* what b vanishes on needs no y *)
      assert (Need : forall v, in_span (y :: s) v -> dot b v = 0 -> in_span s v).
      { intros v [c Hc] Hv. pose proof (dot_span s b _ Hb Hc) as D.
        rewrite (dot_ext b _ (fun e => 1 * v e + - c * y e)) in D by (intros; ring).
        rewrite dot_mix, Hv, Hby in D.
        apply (in_span_ext s (fun e => v e - c * y e)); [|exact Hc].
        intros e _. replace c with 0 by lra. ring. }
      destruct (cut b l Hi) as [Z|(l1 & _ & Hi1 & Hlen & Hmem & _)].
      * assert (length l <= length s)%nat; [|simpl; lia]. apply IH; [exact Hi|]. intros x Hx. apply Need; auto.
      * rewrite Hlen. simpl. apply le_n_S, IH; [exact Hi1|]. intros x Hx. destruct (Hmem x Hx) as [Hx1 Hx2].
        apply Need; [|exact Hx2]. apply (in_span_trans l); assumption.
Qed.

Lemma rank_basis l : exists b, independent b /\ length b = rank l /\
  (forall x, In x b -> In x l) /\ forall x, In x l -> in_span b x.
Proof.
  induction l as [|x l (b & Hi & Hlen & Hsub & Hspan)]; simpl.
  - exists []. simpl. repeat split; intros; contradiction.
  - destruct (decide (in_span l x)) as [H|H].
    + exists b. split; [exact Hi|]. split; [exact Hlen|]. split; [auto|].
      intros y [<-|Hy]; [apply (in_span_trans l); assumption|auto].
    + exists (x :: b). split; [split; [|exact Hi]|].
      { intros C. apply H. apply (in_span_trans b); [|exact C]. intros y Hy. apply in_span_member, Hsub, Hy. }
      split; [simpl; rewrite Hlen; reflexivity|]. split.
      * intros y [<-|Hy]; auto.
      * intros y [<-|Hy]; [apply (in_span_member (x :: b)); left; reflexivity|apply in_span_more; auto].
Qed.

Lemma rank_independent l : independent l -> rank l = length l.
Proof.
  induction l as [|x l IH]; simpl; [reflexivity|]. intros [Hx Hi].
  destruct (decide (in_span l x)); [contradiction|]. rewrite IH by exact Hi. reflexivity.
Qed.

(** The rank depends on the span alone. *)
Theorem rank_le l l' : (forall x, In x l -> in_span l' x) -> (rank l <= rank l')%nat.
Proof.
  intros H. destruct (rank_basis l) as (b & Hi & <- & Hsub & _).
  destruct (rank_basis l') as (b' & _ & <- & _ & Hspan'). apply independent_length; [exact Hi|].
  intros x Hx. apply (in_span_trans l'); [exact Hspan'|]. apply H, Hsub, Hx.
Qed.

(** A span in a span of the same rank is all of it. *)
Theorem same_rank_same_span l l' : (forall x, In x l -> in_span l' x) -> rank l = rank l' ->
  forall v, in_span l' v -> in_span l v.
Proof.
  intros H Hr v Hv. apply Classical_Prop.NNPP. intros C.
  destruct (rank_basis l) as (b & Hi & Hlen & Hsub & _).
  destruct (rank_basis l') as (b' & _ & Hlen' & _ & Hspan').
  assert (length (v :: b) <= length b')%nat; [|simpl in *; lia].
  apply independent_length.
  - split; [|exact Hi]. intros D. apply C. apply (in_span_trans b); [|exact D].
    intros x Hx. apply in_span_member, Hsub, Hx.
  - intros x Hx. apply (in_span_trans l'); [exact Hspan'|]. destruct Hx as [<-|Hx]; [exact Hv|apply H, Hsub, Hx].
Qed.

(** ** The null space *)

Hypothesis edges_once : NoDup edges.

Definition pick (d e : E) : R := if edge_dec e d then 1 else 0.

Lemma picks_span L : forall v, (forall e, In e edges -> ~ In e L -> v e = 0) -> in_span (map pick L) v.
Proof.
  induction L as [|d L IH]; simpl; intros v H; [intros e He; apply H; auto|].
  exists (v d). apply IH. intros e He HL. unfold pick. destruct (edge_dec e d) as [->|Hne]; [ring|].
  rewrite H; [ring|exact He|]. intros [->|C]; [apply Hne; reflexivity|contradiction].
Qed.

Lemma picks_independent L : NoDup L -> incl L edges -> independent (map pick L).
Proof.
  induction L as [|d L IH]; simpl; intros Hn Hi; [exact I|]. apply NoDup_cons_iff in Hn as [Hd Hn]. split.
  - intros C. assert (Hde : In d edges) by (apply Hi; left; reflexivity).
    assert (P : forall f, dot f (pick d) = f d).
    { intros f. unfold dot. rewrite <- (sum_pick edge_dec edges f d edges_once Hde). apply sum_ext.
      intros e _. unfold pick. destruct (edge_dec e d); ring. }
    assert (D : pick d d = 0).
    { rewrite <- (P (pick d)). apply (dot_span (map pick L)); [|exact C].
      intros x Hx. apply in_map_iff in Hx as (e & <- & He). rewrite dot_comm, P. unfold pick.
      destruct (edge_dec d e) as [->|]; [contradiction|reflexivity]. }
    unfold pick in D. destruct (edge_dec d d) as [_|N]; [lra|contradiction].
  - apply IH; [exact Hn|]. intros e He. apply Hi. right; exact He.
Qed.

(** The vectors on which all of a list vanish have a basis, with as many members as rank is missing. *)
Theorem null_basis l : exists n, independent n /\ (rank l + length n = length edges)%nat /\
  (forall x y, In x l -> In y n -> dot x y = 0) /\
  forall v, (forall x, In x l -> dot x v = 0) -> in_span n v.
Proof.
  induction l as [|x l (n & Hi & Hlen & Hdot & Hspan)].
  - exists (map pick edges). split; [apply picks_independent; [exact edges_once|apply incl_refl]|].
    split; [rewrite map_length; reflexivity|]. split; [intros x y []|].
    intros v _. apply picks_span. intros e He C. contradiction.
  - simpl. destruct (span_or_separated l x) as [Hx|(b & Hb & Hbx)].
    + destruct (decide (in_span l x)) as [_|C]; [|contradiction].
      exists n. split; [exact Hi|]. split; [exact Hlen|]. split.
      * intros z y [<-|Hz] Hy; [|auto]. rewrite dot_comm. apply (dot_span l); [|exact Hx].
        intros z Hz. rewrite dot_comm. auto.
      * intros v Hv. apply Hspan. auto.
    + destruct (decide (in_span l x)) as [C|_].
      { exfalso. pose proof (dot_span l b x Hb C). lra. }
      assert (Hbn : in_span n b) by (apply Hspan; intros z Hz; rewrite dot_comm; auto).
      destruct (cut x n Hi) as [Z|(n' & y & Hi' & Hlen' & Hmem & Hall & _)].
      { exfalso. pose proof (dot_span n x b Z Hbn) as D. rewrite dot_comm in D. lra. }
      exists n'. split; [exact Hi'|]. split; [lia|]. split.
      * intros z w [<-|Hz] Hw; [apply Hmem, Hw|]. apply (dot_span n); [|apply Hmem, Hw].
        intros u Hu. auto.
      * intros v Hv. apply Hall; [apply Hspan|]; auto.
Qed.

(** ** The columns of a matrix *)

Section Matrix.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variable A : E -> U -> R.

Definition columns (units : list U) : list vector := map (fun k e => A e k) units.

Lemma in_span_columns units : NoDup units -> forall v,
  in_span (columns units) v <-> exists h, forall e, In e edges -> log_scale units A h e = v e.
Proof.
  induction units as [|k units IH]; intros Hn v.
  - split.
    + intros H. exists (fun _ => 0). intros e He. simpl in H. rewrite H by exact He. reflexivity.
    + intros [h Hh] e He. rewrite <- Hh by exact He. reflexivity.
  - apply NoDup_cons_iff in Hn as [Hk Hn]. split.
    + intros [c Hc]. apply (IH Hn) in Hc as [h Hh]. exists (put eq_dec h k c). intros e He.
      rewrite log_scale_put_cons, Hh by assumption. ring.
    + intros [h Hh]. exists (h k). apply (IH Hn). exists h. intros e He.
      rewrite <- Hh, log_scale_cons by exact He. ring.
Qed.

Lemma columns_independent units : NoDup units ->
  (forall h, (forall e, In e edges -> log_scale units A h e = 0) -> forall k, In k units -> h k = 0) ->
  independent (columns units).
Proof.
  induction units as [|k units IH]; intros Hn Hinj; [exact I|]. apply NoDup_cons_iff in Hn as [Hk Hn]. split.
  - intros C. apply (in_span_columns units Hn) in C as [h Hh].
    assert (X : put eq_dec h k (-1) k = 0).
    { apply Hinj; [|left; reflexivity]. intros e He. rewrite log_scale_put_cons, Hh by assumption. ring. }
    rewrite put_same in X. lra.
  - apply IH; [exact Hn|]. intros h Hh j Hj. assert (Hne : j <> k) by (intros ->; contradiction).
    rewrite <- (put_other eq_dec h k 0 j Hne). apply Hinj; [|right; exact Hj].
    intros e He. rewrite log_scale_put_cons, Hh by assumption. ring.
Qed.

(** If all of a list of vectors vanish on the images of A, then they single these out exactly if their rank
    is what the rank of A leaves. *)
Theorem rank_criterion units (P : list vector) : NoDup units ->
  (forall x k, In x P -> In k units -> dot x (fun e => A e k) = 0) ->
  (forall L, (exists h, forall e, In e edges -> log_scale units A h e = L e) <-> (forall x, In x P -> dot x L = 0))
  <-> (rank P + rank (columns units) = length edges)%nat.
Proof.
  intros Hu HPA. destruct (null_basis P) as (n & Hi & Hlen & Hdot & Hspan).
  assert (Sub : forall x, In x (columns units) -> in_span n x).
  { intros x Hx. apply in_map_iff in Hx as (k & <- & Hk). apply Hspan. auto. }
  split.
  - intros H. assert (rank n <= rank (columns units))%nat.
    { apply rank_le. intros y Hy. apply in_span_columns; [exact Hu|]. apply H. auto. }
    pose proof (rank_le _ _ Sub). pose proof (rank_independent n Hi). lia.
  - intros Hr L. rewrite <- in_span_columns by exact Hu. split.
    + intros HL x Hx. apply (dot_span (columns units)); [|exact HL].
      intros y Hy. apply in_map_iff in Hy as (k & <- & Hk). auto.
    + intros HL. apply (same_rank_same_span _ n Sub); [|apply Hspan, HL].
      rewrite (rank_independent n Hi). lia.
Qed.

End Matrix.
End Rank.
