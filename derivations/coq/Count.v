(** * How many invariants there are

    Claim [S.conserved]: all that rescalings keep of the nonzero entries of J are their signs and functions of
    nnz - (N - number of weak components) independent monomials. First the null space of A^T for any matrix A
    with independent columns, then the graph of a recurrent network. *)

From Coq Require Import Relations.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow Gradient Stock
  Invariants Osborne.

Lemma sum_remove {T : Type} (dec : forall x y : T, {x = y} + {x <> y}) (l : list T) (f : T -> R) a :
  NoDup l -> In a l -> sum l f = f a + sum (remove dec a l) f.
Proof.
  induction l as [|b l IH]; intros Hn Ha; [destruct Ha|].
  apply NoDup_cons_iff in Hn as [Hb Hn]. simpl. destruct (dec a b) as [<-|N].
  - rewrite notin_remove by exact Hb. reflexivity.
  - destruct Ha as [->|Ha]; [contradiction|]. simpl. rewrite IH by assumption. ring.
Qed.

Lemma length_remove {T : Type} (dec : forall x y : T, {x = y} + {x <> y}) (l : list T) a :
  NoDup l -> In a l -> length l = S (length (remove dec a l)).
Proof.
  induction l as [|b l IH]; intros Hn Ha; [destruct Ha|].
  apply NoDup_cons_iff in Hn as [Hb Hn]. simpl. destruct (dec a b) as [<-|N].
  - rewrite notin_remove by exact Hb. reflexivity.
  - destruct Ha as [->|Ha]; [contradiction|]. simpl. f_equal. apply IH; assumption.
Qed.

Lemma nodup_remove {T : Type} (dec : forall x y : T, {x = y} + {x <> y}) (l : list T) a : NoDup l -> NoDup (remove dec a l).
Proof.
  induction 1 as [|b l Hb _ IH]; simpl; [constructor|]. destruct (dec a b); [exact IH|]. constructor; [|exact IH].
  intros H. apply in_remove in H as [H _]. contradiction.
Qed.

(** ** A basis of the null space of A^T *)

Section Null.
Context {E U : Type} (edge_dec : forall d e : E, {d = e} + {d <> e}) (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (A : E -> U -> R).
Hypothesis nodup : NoDup edges.

(** <A_k, n>, for column k. *)
Definition along (k : U) (n : E -> R) : R := Σ e ∈ edges, A e k * n e.

Definition null (columns : list U) (n : E -> R) : Prop := forall k, In k columns -> along k n = 0.

Definition independent_columns (columns : list U) : Prop :=
  forall h, (forall e, In e edges -> log_scale columns A h e = 0) -> forall k, In k columns -> h k = 0.

(** Vectors B f, one for each f of a list of names. *)
Definition combination (names : list E) (B : E -> E -> R) (c : E -> R) (e : E) : R := Σ f ∈ names, c f * B f e.

Definition independent (names : list E) (B : E -> E -> R) : Prop :=
  forall c, (forall e, In e edges -> combination names B c e = 0) -> forall f, In f names -> c f = 0.

Definition integral (n : E -> R) : Prop := forall e, In e edges -> exists z, n e = IZR z.

Lemma along_combination k names B c : along k (combination names B c) = Σ f ∈ names, c f * along k (B f).
Proof.
  unfold along, combination.
  rewrite (sum_ext edges _ (fun e => Σ f ∈ names, c f * (A e k * B f e)))
    by (intros e _; rewrite <- sum_scal; apply sum_ext; intros; ring).
  rewrite sum_swap. apply sum_ext. intros f _. apply sum_scal.
Qed.

Lemma along_ext k n n' : (forall e, In e edges -> n e = n' e) -> along k n = along k n'.
Proof. intros H. apply sum_ext. intros e He. rewrite H by exact He. reflexivity. Qed.

Lemma along_minus k a n b m : along k (fun e => a * n e - b * m e) = a * along k n - b * along k m.
Proof. unfold along. rewrite <- !sum_scal, <- sum_minus. apply sum_ext. intros; ring. Qed.

Lemma integral_along k n : (forall e, In e edges -> exists z, A e k = IZR z) -> integral n -> exists z, along k n = IZR z.
Proof.
  intros HA Hn. unfold along, integral in *. clear nodup. revert HA Hn. induction edges as [|e l IH]; intros HA Hn.
  - exists 0%Z. reflexivity.
  - destruct (HA e (or_introl eq_refl)) as [x Hx]. destruct (Hn e (or_introl eq_refl)) as [y Hy].
    destruct IH as [z Hz]; [intros; apply HA; right; assumption|intros; apply Hn; right; assumption|].
    exists (x * y + z)%Z. simpl. rewrite Hx, Hy, Hz, plus_IZR, mult_IZR. reflexivity.
Qed.

(** As many vectors as there are rows more than columns: independent, with whole entries where A has, and all
    null vectors are combinations of them. *)
Theorem null_basis (columns : list U) : NoDup columns -> independent_columns columns ->
  (forall e k, In e edges -> exists z, A e k = IZR z) ->
  exists names B, NoDup names /\ (length names + length columns = length edges)%nat /\
    (forall f, In f names -> null columns (B f) /\ integral (B f)) /\ independent names B /\
    forall n, null columns n -> exists c, forall e, In e edges -> n e = combination names B c e.
Proof.
  intros Hn Hind HA. induction columns as [|s S IH].
  - set (B := fun f e : E => if edge_dec f e then 1 else 0).
    assert (P : forall c e, In e edges -> combination edges B c e = c e).
    { intros c e He. rewrite <- (sum_pick edge_dec edges c e nodup He). apply sum_ext. intros f _. unfold B.
      destruct (edge_dec f e); ring. }
    exists edges, B. split; [exact nodup|]. split; [simpl; lia|]. split; [|split].
    + intros f _. split; [intros k []|]. intros e _. unfold B. destruct (edge_dec f e); [exists 1%Z|exists 0%Z]; reflexivity.
    + intros c H f Hf. rewrite <- (P c f Hf). apply H, Hf.
    + intros n _. exists n. intros e He. symmetry. apply P, He.
  - apply NoDup_cons_iff in Hn as [Hs Hn].
    assert (Hind' : independent_columns S).
    { intros h H k Hk. assert (k <> s) by (intros ->; contradiction).
      rewrite <- (put_other eq_dec h s 0 k) by assumption. apply Hind; [|right; exact Hk].
      intros e He. rewrite log_scale_put_cons, H by assumption. ring. }
    destruct (IH Hn Hind') as (names & B & Hnd & Hlen & HB & Hi & Hspan). clear IH.
    assert (X : exists f, In f names /\ along s (B f) <> 0).
    { destruct (span_or_functional eq_dec edges A S Hn (fun e => A e s)) as [[c Hc]|(b & Hb & Hb1)].
      - exfalso. assert (1 = 0); [|lra].
        rewrite <- (put_same eq_dec (fun k => - c k) s 1). apply Hind; [|left; reflexivity].
        intros e He. rewrite log_scale_put_cons by assumption.
        assert (L : log_scale S A (fun k => - c k) e = - log_scale S A c e).
        { unfold log_scale. rewrite <- sum_opp. apply sum_ext. intros; ring. }
        rewrite L, Hc by exact He. ring.
      - destruct (Hspan b Hb) as [c Hc].
        destruct (Exists_dec (fun f => along s (B f) <> 0) names) as [D|D].
        + intros f. destruct (Req_EM_T (along s (B f)) 0); [right|left]; auto.
        + apply Exists_exists in D. exact D.
        + exfalso. assert (Z : along s b = 0).
          { rewrite (along_ext s b _ Hc), along_combination. apply sum_zero. intros f Hf.
            destruct (Req_dec (along s (B f)) 0) as [->|N]; [ring|].
            exfalso. apply D, Exists_exists. exists f. auto. }
          assert (along s b = 1); [|lra]. rewrite <- Hb1. apply sum_ext. intros; ring. }
    destruct X as (f0 & Hf0 & N0). set (l0 := along s (B f0)) in *.
    exists (remove edge_dec f0 names), (fun f e => l0 * B f e - along s (B f) * B f0 e).
    assert (Hin : forall f, In f (remove edge_dec f0 names) -> In f names /\ f <> f0)
      by (intros f Hf; apply in_remove in Hf; exact Hf).
    assert (Cmb : forall c e, combination (remove edge_dec f0 names) (fun f e => l0 * B f e - along s (B f) * B f0 e) c e
      = l0 * combination (remove edge_dec f0 names) B c e
        - (Σ f ∈ remove edge_dec f0 names, c f * along s (B f)) * B f0 e).
    { intros c e. unfold combination. rewrite <- sum_scal, <- sum_scal_r, <- sum_minus. apply sum_ext. intros; ring. }
    split; [apply nodup_remove, Hnd|]. split; [|split; [|split]].
    + rewrite <- Hlen, (length_remove edge_dec names f0 Hnd Hf0). simpl. lia.
    + intros f Hf. apply Hin in Hf as [Hf _]. split.
      * intros k [<-|Hk]; rewrite along_minus; [fold l0; ring|].
        rewrite (proj1 (HB f Hf) k Hk), (proj1 (HB f0 Hf0) k Hk). ring.
      * intros e He.
        destruct (integral_along s (B f0)) as [x Hx]; [intros; apply HA; assumption|apply HB, Hf0|].
        destruct (integral_along s (B f)) as [y Hy]; [intros; apply HA; assumption|apply HB, Hf|].
        destruct (proj2 (HB f Hf) e He) as [z Hz]. destruct (proj2 (HB f0 Hf0) e He) as [v Hv].
        exists (x * z - y * v)%Z. unfold l0. rewrite Hx, Hy, Hz, Hv, minus_IZR, !mult_IZR. reflexivity.
    + intros c H f Hf. apply Hin in Hf as Hf'. destruct Hf' as [Hfn Hne].
      set (d := fun g => if edge_dec g f0 then - Σ f ∈ remove edge_dec f0 names, c f * along s (B f) else c g * l0).
      assert (D : d f = 0).
      { apply Hi; [|exact Hfn]. intros e He. rewrite <- (H e He), Cmb. unfold combination.
        rewrite (sum_remove edge_dec names _ f0 Hnd Hf0). unfold d at 1.
        destruct (edge_dec f0 f0); [|contradiction].
        rewrite (sum_ext (remove edge_dec f0 names) (fun x => d x * B x e) (fun x => l0 * (c x * B x e))).
        - rewrite sum_scal. ring.
        - intros g Hg. apply Hin in Hg as [_ Hg]. unfold d. destruct (edge_dec g f0); [contradiction|ring]. }
      unfold d in D. destruct (edge_dec f f0); [contradiction|]. destruct (Rmult_integral _ _ D); [assumption|contradiction].
    + intros n Hnull. destruct (Hspan n) as [c Hc]; [intros k Hk; apply Hnull; right; exact Hk|].
      exists (fun f => / l0 * c f). intros e He.
      assert (L : (Σ f ∈ names, c f * along s (B f)) = 0).
      { rewrite <- along_combination, <- (along_ext s n _ Hc). apply Hnull. left. reflexivity. }
      rewrite (sum_remove edge_dec names _ f0 Hnd Hf0) in L. fold l0 in L.
      rewrite Cmb. unfold combination. rewrite Hc by exact He. unfold combination.
      rewrite (sum_remove edge_dec names _ f0 Hnd Hf0).
      rewrite (sum_ext (remove edge_dec f0 names) (fun f => / l0 * c f * B f e) (fun f => / l0 * (c f * B f e)))
        by (intros; ring).
      rewrite (sum_ext (remove edge_dec f0 names) (fun f => / l0 * c f * along s (B f))
        (fun f => / l0 * (c f * along s (B f)))) by (intros; ring).
      rewrite !sum_scal.
      replace (Σ f ∈ remove edge_dec f0 names, c f * along s (B f)) with (- (c f0 * l0)) by lra.
      field. exact N0.
Qed.

(** Independent exponents make independent functions: any values b_f of the <B_f, x> occur. *)
Lemma values_free names B : independent names B -> forall b : E -> R,
  exists x, forall f, In f names -> (Σ e ∈ edges, B f e * x e) = b f.
Proof.
  intros Hi b. destruct (span_or_functional edge_dec names B edges nodup b) as [H|(c & Hc & Hc1)]; [exact H|exfalso].
  assert (Z : forall f, In f names -> c f = 0).
  { apply Hi. intros e He. rewrite <- (Hc e He). apply sum_ext. intros; ring. }
  rewrite (sum_zero names) in Hc1; [lra|]. intros f Hf. rewrite Z by exact Hf. ring.
Qed.

End Null.

(** ** Recurrent networks *)

Section Matrix.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (J : U -> U -> R).
Hypothesis nodup : NoDup units.

Notation inc := (incidence eq_dec pre post).
Notation edges := (synapses units J).
Notation "i ~ j" := (connected units J i j) (at level 70).

Lemma pairs_dec : forall d e : U * U, {d = e} + {d <> e}.
Proof. repeat decide equality. Qed.

(** One unit for each weak component; units without synapses are components of their own. *)
Definition representatives (l : list U) : Prop := NoDup l /\ incl l units /\
  (forall i, In i units -> exists r, In r l /\ i ~ r) /\ forall r r', In r l -> In r' l -> r ~ r' -> r = r'.

Lemma representatives_exist : exists l, representatives l.
Proof.
  assert (X : forall m, NoDup m -> incl m units -> exists l, NoDup l /\ incl l m /\
    (forall i, In i m -> exists r, In r l /\ i ~ r) /\ forall r r', In r l -> In r' l -> r ~ r' -> r = r').
  { induction m as [|k m IH]; intros Hn Hm.
    - exists []. repeat split; [constructor|intros x []|intros i []|intros r r' []].
    - apply NoDup_cons_iff in Hn as [Hk Hn].
      destruct (IH Hn (fun x Hx => Hm x (or_intror Hx))) as (l & Hl & Hlm & Hr & Hu).
      destruct (decide (exists r, In r l /\ k ~ r)) as [D|D].
      + exists l. split; [exact Hl|]. split; [intros x Hx; right; apply Hlm, Hx|]. split; [|exact Hu].
        intros i [<-|Hi]; [exact D|apply Hr, Hi].
      + exists (k :: l). split; [|split; [|split]].
        * constructor; [|exact Hl]. intros H. apply Hk, Hlm, H.
        * intros x [<-|Hx]; [left; reflexivity|right; apply Hlm, Hx].
        * intros i [<-|Hi]; [exists k; split; [left; reflexivity|apply rst_refl]|].
          destruct (Hr i Hi) as (r & H1 & H2). exists r. split; [right; exact H1|exact H2].
        * intros r r' [<-|H1] [<-|H2] H; [reflexivity| | |apply Hu; assumption].
          -- exfalso. apply D. exists r'. auto.
          -- exfalso. apply D. exists r. split; [exact H1|apply rst_sym, H]. }
  destruct (X units nodup (incl_refl _)) as (l & H). exists l. exact H.
Qed.

Section Count.
Variable reps : list U.
Hypothesis Hreps : representatives reps.

Definition represented (k : U) : bool := if in_dec eq_dec k reps then false else true.

(** The columns of A without those of the representatives. *)
Notation columns := (filter represented units).

Lemma in_columns k : In k columns <-> In k units /\ ~ In k reps.
Proof. rewrite filter_In. unfold represented. destruct (in_dec eq_dec k reps); intuition discriminate. Qed.

Lemma columns_length : (length columns + length reps = length units)%nat.
Proof.
  destruct Hreps as (Hn & Hin & _). clear Hreps. revert Hn Hin.
  assert (X : forall m : list U, NoDup m -> forall l, NoDup l -> incl l m ->
    (length (filter (fun k => if in_dec eq_dec k l then false else true) m) + length l = length m)%nat).
  { induction m as [|k m IH]; intros Hm l Hl Hlm.
    - destruct l as [|a l]; [reflexivity|]. destruct (Hlm a (or_introl eq_refl)).
    - apply NoDup_cons_iff in Hm as [Hk Hm]. simpl. destruct (in_dec eq_dec k l) as [H|H].
      + rewrite (length_remove eq_dec l k Hl H).
        assert (F : filter (fun x => if in_dec eq_dec x l then false else true) m
          = filter (fun x => if in_dec eq_dec x (remove eq_dec k l) then false else true) m).
        { apply filter_ext_in. intros x Hx. assert (x <> k) by (intros ->; contradiction).
          destruct (in_dec eq_dec x l) as [D|D], (in_dec eq_dec x (remove eq_dec k l)) as [D'|D']; try reflexivity.
          - exfalso. apply D', in_in_remove; assumption.
          - exfalso. apply D. apply in_remove in D' as [D' _]. exact D'. }
        rewrite F, Nat.add_succ_r. f_equal. apply IH; [exact Hm|apply nodup_remove, Hl|].
        intros x Hx. apply in_remove in Hx as [Hx N]. destruct (Hlm x Hx) as [->|]; [contradiction|assumption].
      + simpl. f_equal. apply IH; [exact Hm|exact Hl|]. intros x Hx.
        destruct (Hlm x Hx) as [->|]; [contradiction|assumption]. }
  intros Hn Hin. apply X; assumption.
Qed.

Lemma synapse_scale h e : In e edges -> log_scale units inc h e = h (fst e) - h (snd e).
Proof. intros He. apply (entry_scale eq_dec units (fun _ _ => 1) nodup), in_entries with J, He. Qed.

Lemma linked_synapse e : In e edges -> linked units J (fst e) (snd e).
Proof. destruct e as [i j]. intros He. apply (synapses_in units (fun _ _ => 1)) in He. exact He. Qed.

Lemma columns_independent : independent_columns edges inc columns.
Proof.
  intros h H k Hk. set (z := fun k => if in_dec eq_dec k reps then 0 else h k).
  assert (Z : forall e, In e edges -> z (fst e) = z (snd e)).
  { intros e He. apply Rminus_diag_uniq. rewrite <- synapse_scale by exact He. rewrite <- (H e He).
    unfold log_scale. rewrite sum_filter. apply sum_ext. intros j _. unfold z, represented.
    destruct (in_dec eq_dec j reps); ring. }
  assert (Cst : forall i j, i ~ j -> z i = z j).
  { intros i j D. induction D as [i j (Hi & Hj & Hz)|i|i j _ IH|i j m _ IH1 _ IH2]; [|reflexivity|auto|congruence].
    apply (Z (i, j)), (synapses_in units (fun _ _ => 1)). auto. }
  apply in_columns in Hk as [Hk Hkr]. destruct Hreps as (_ & _ & Hr & _). destruct (Hr k Hk) as (r & Hr1 & Hr2).
  specialize (Cst k r Hr2). unfold z in Cst. destruct (in_dec eq_dec k reps); [contradiction|].
  destruct (in_dec eq_dec r reps); [exact Cst|contradiction].
Qed.

(** The other columns add nothing: what a component gains at its representative it loses at the others. *)
Lemma null_columns n : null edges inc columns n <-> null edges inc units n.
Proof.
  split; intros H k Hk; [|apply H, in_columns, Hk].
  destruct (in_dec eq_dec k reps) as [D|D]; [|apply H, in_columns; auto].
  assert (T : (Σ j ∈ units, along edges inc j n * (if decide (j ~ k) then 1 else 0)) = 0).
  { unfold along. rewrite <- (adjoint edges units inc n (fun j => if decide (j ~ k) then 1 else 0)).
    apply sum_zero. intros e He. rewrite synapse_scale by exact He. apply linked_synapse in He.
    destruct (decide (fst e ~ k)) as [C1|C1], (decide (snd e ~ k)) as [C2|C2]; try ring; exfalso.
    - apply C2. apply rst_trans with (fst e); [apply rst_sym, rst_step, He|exact C1].
    - apply C1. apply rst_trans with (snd e); [apply rst_step, He|exact C2]. }
  rewrite (sum_ext units _ (fun j => if eq_dec j k then along edges inc j n else 0)) in T.
  - rewrite <- T. symmetry. apply (sum_pick eq_dec units (fun j => along edges inc j n) k nodup Hk).
  - intros j Hj. destruct (eq_dec j k) as [->|N].
    + destruct (decide (k ~ k)) as [|C1]; [ring|]. exfalso. apply C1, rst_refl.
    + destruct (decide (j ~ k)) as [C1|]; [|ring]. rewrite H; [ring|]. apply in_columns. split; [exact Hj|].
      intros Hjr. apply N. destruct Hreps as (_ & _ & _ & Hu). apply Hu; assumption.
Qed.

(** The product of |J_ij|^(n_ij) over the synapses. *)
Definition monomial (n : U * U -> R) (K : U -> U -> R) : R :=
  product (fun e => Rpower (Rabs (synapse K e)) (n e)) edges.

Lemma monomial_exp n K : monomial n K = exp (Σ e ∈ edges, n e * ln (Rabs (synapse K e))).
Proof.
  unfold monomial. induction edges as [|e l IH]; simpl; [symmetry; apply exp_0|]. rewrite IH, exp_plus. reflexivity.
Qed.

Definition same_signs (K : U -> U -> R) : Prop :=
  same_zeros units J K /\ forall i j, In i units -> In j units -> J i j <> 0 -> 0 < J i j * K i j.

Lemma same_signs_scale K : same_signs K -> forall e, In e edges ->
  synapse K e = exp (ln (Rabs (synapse K e)) - ln (Rabs (synapse J e))) * synapse J e.
Proof.
  intros [_ H] [i j] He. apply (synapses_in units (fun _ _ => 1)) in He as (Hi & Hj & Hz).
  specialize (H i j Hi Hj Hz). unfold synapse. simpl.
  assert (K i j <> 0) by (intros X; rewrite X in H; lra).
  unfold Rminus. rewrite exp_plus, exp_Ropp, !exp_ln by (apply Rabs_pos_lt; assumption).
  destruct (Rtotal_order 0 (J i j)) as [P|[P|P]]; [|congruence|].
  - assert (0 < K i j) by nra. rewrite !Rabs_pos_eq by lra. field. lra.
  - assert (K i j < 0) by nra. rewrite !Rabs_left by lra. field. lra.
Qed.

(** [S.conserved], the count: there are nnz - (N - components) monomials with whole exponents ... *)
Theorem invariants_counted : exists names B,
  (length names + length units = length edges + length reps)%nat /\
  (forall f, In f names -> forall e, In e edges -> exists z, B f e = IZR z) /\
  (* that rescalings keep, *)
  (forall f h, In f names -> monomial (B f) (transformed h J) = monomial (B f) J) /\
  (* that are independent: matrices with the zeros and signs of J take any positive values of them, *)
  (forall v : U * U -> R, (forall f, In f names -> 0 < v f) ->
    exists K, same_signs K /\ forall f, In f names -> monomial (B f) K = v f) /\
  (* and that with the signs tell all orbits apart. *)
  (forall K, same_signs K -> (forall f, In f names -> monomial (B f) K = monomial (B f) J) ->
    exists h, forall i j, In i units -> In j units -> K i j = transformed h J i j).
Proof.
  assert (Hed : NoDup edges) by apply (synapses_well_formed units (fun _ _ => 1) nodup J).
  destruct (null_basis pairs_dec eq_dec edges inc Hed columns) as (names & B & Hn & Hlen & HB & Hi & Hspan).
  - apply NoDup_filter, nodup.
  - apply columns_independent.
  - intros e k _. unfold incidence, at_unit, post, pre.
    destruct (eq_dec (fst e) k), (eq_dec (snd e) k); [exists 0%Z|exists 1%Z|exists (-1)%Z|exists 0%Z]; simpl; lra.
  - exists names, B. split; [|split; [|split; [|split]]].
    + pose proof columns_length. lia.
    + intros f Hf. apply HB, Hf.
    + intros f h Hf. rewrite !monomial_exp. f_equal.
      rewrite <- (null_vector_invariant edges units inc (B f) (synapse J) (fun k => - h k)).
      * apply sum_ext. intros e He. f_equal. f_equal. f_equal. unfold act.
        rewrite (transformed_entry eq_dec units (fun _ _ => 1) nodup h J e (in_entries units J e He)). ring.
      * apply null_columns, HB, Hf.
      * intros [i j] He. apply (synapses_in units (fun _ _ => 1)) in He. apply He.
    + intros v Hv.
      destruct (values_free pairs_dec edges Hed names B Hi (fun f => ln (v f) - ln (monomial (B f) J))) as [x Hx].
      exists (fun i j => exp (x (i, j)) * J i j). split.
      * split; intros i j Hi' Hj.
        -- pose proof (exp_pos (x (i, j))). split; [intros ->; ring|]. intros Z.
           apply Rmult_integral in Z as [Z|Z]; [lra|exact Z].
        -- intros N. pose proof (exp_pos (x (i, j))). assert (0 < J i j * J i j) by nra. nra.
      * intros f Hf. rewrite monomial_exp, <- (exp_ln (v f)) by (apply Hv, Hf). f_equal.
        specialize (Hx f Hf). rewrite (monomial_exp (B f) J), ln_exp in Hx.
        rewrite (sum_ext edges _ (fun e => B f e * ln (Rabs (synapse J e)) + B f e * x e)).
        -- rewrite sum_plus. lra.
        -- intros [i j] He. apply (synapses_in units (fun _ _ => 1)) in He as (_ & _ & Hz). unfold synapse. simpl.
           rewrite Rabs_mult, (Rabs_pos_eq (exp _)) by apply Rlt_le, exp_pos.
           rewrite ln_mult, ln_exp by (try apply exp_pos; apply Rabs_pos_lt, Hz). ring.
    + intros K HK Hm. destruct (self_consistent_iff eq_dec edges units inc
        (fun e => ln (Rabs (synapse K e)) - ln (Rabs (synapse J e))) nodup) as [_ Sc].
      destruct Sc as [h Hh].
      * intros n Hnull. destruct (Hspan n) as [c Hc]; [apply null_columns; exact Hnull|].
        rewrite (sum_ext edges _ (fun e => Σ f ∈ names,
          c f * (B f e * ln (Rabs (synapse K e)) - B f e * ln (Rabs (synapse J e))))).
        2: { intros e He. rewrite (Hc e He). unfold combination. rewrite <- sum_scal_r. apply sum_ext. intros; ring. }
        rewrite sum_swap. apply sum_zero. intros f Hf. rewrite sum_scal, sum_minus.
        specialize (Hm f Hf). rewrite !monomial_exp in Hm. apply exp_inv in Hm. rewrite Hm. ring.
      * exists (fun k => - h k). intros i j Hi' Hj. destruct (Req_dec (J i j) 0) as [Z|Z].
        -- rewrite (proj1 (proj1 HK i j Hi' Hj) Z). symmetry. apply transformed_zero, Z.
        -- assert (He : In (i, j) edges) by (apply (synapses_in units (fun _ _ => 1)); auto).
           pose proof (same_signs_scale K HK (i, j) He) as X. rewrite <- (Hh (i, j) He) in X.
           rewrite synapse_scale in X by exact He. unfold synapse in X. simpl in X. rewrite X. unfold transformed.
           unfold Rminus. rewrite exp_plus, Ropp_involutive. ring.
Qed.

End Count.
End Matrix.
