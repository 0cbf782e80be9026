(** * Finite sums of real numbers over lists

    The index type is arbitrary: weights and units are whatever a network calls them. A list may name an
    index twice; then it counts twice. *)

From Coq Require Export Reals List Lra Lia Psatz.
From Coquelicot Require Export Coquelicot.
Export ListNotations.
Open Scope R_scope.

Fixpoint sum {T : Type} (l : list T) (f : T -> R) : R :=
  match l with
  | nil => 0
  | x :: r => f x + sum r f
  end.

Notation "'Σ' x ∈ l , f" := (sum l (fun x => f))
  (at level 41, x name, l at level 39, f at level 41, right associativity) : R_scope.

Section Sums.
Context {T : Type}.
Implicit Types (l : list T) (f g : T -> R).

Lemma sum_ext l f g : (forall x, In x l -> f x = g x) -> sum l f = sum l g.
Proof.
  induction l as [|a l IH]; simpl; intros H; [reflexivity|].
  rewrite (H a (or_introl eq_refl)), IH; auto.
Qed.

Lemma sum_zero l f : (forall x, In x l -> f x = 0) -> sum l f = 0.
Proof.
  induction l as [|a l IH]; simpl; intros H; [reflexivity|].
  rewrite (H a (or_introl eq_refl)), IH; auto; lra.
Qed.

Lemma sum_plus l f g : (Σ x ∈ l, (f x + g x)) = sum l f + sum l g.
Proof. induction l; simpl; lra. Qed.

Lemma sum_minus l f g : (Σ x ∈ l, (f x - g x)) = sum l f - sum l g.
Proof. induction l; simpl; lra. Qed.

Lemma sum_opp l f : (Σ x ∈ l, - f x) = - sum l f.
Proof. induction l; simpl; lra. Qed.

Lemma sum_scal l c f : (Σ x ∈ l, c * f x) = c * sum l f.
Proof. induction l as [|a l IH]; simpl; [lra|]. rewrite IH; ring. Qed.

Lemma sum_scal_r l c f : (Σ x ∈ l, f x * c) = sum l f * c.
Proof. induction l as [|a l IH]; simpl; [lra|]. rewrite IH; ring. Qed.

Lemma sum_const l c : (Σ x ∈ l, c) = INR (length l) * c.
Proof.
  induction l as [|a l IH]; [simpl; lra|].
  simpl sum; rewrite IH; simpl length; rewrite S_INR; ring.
Qed.

Lemma sum_le l f g : (forall x, In x l -> f x <= g x) -> sum l f <= sum l g.
Proof.
  induction l as [|a l IH]; simpl; intros H; [lra|].
  specialize (IH (fun x h => H x (or_intror h))); specialize (H a (or_introl eq_refl)); lra.
Qed.

Lemma sum_nonneg l f : (forall x, In x l -> 0 <= f x) -> 0 <= sum l f.
Proof. intros H; rewrite <- (sum_zero l (fun _ => 0)) by auto; apply sum_le, H. Qed.

Lemma sum_term l f a : (forall x, In x l -> 0 <= f x) -> In a l -> f a <= sum l f.
Proof.
  induction l as [|b l IH]; simpl; intros H Ha; [contradiction|].
  assert (0 <= sum l f) by (apply sum_nonneg; auto).
  pose proof (H b (or_introl eq_refl)).
  destruct Ha as [->|Ha]; [lra|]. assert (f a <= sum l f) by auto; lra.
Qed.

(** A sum of nonnegative terms is zero only if every term is. *)
Lemma sum_eq_zero l f a : (forall x, In x l -> 0 <= f x) -> sum l f <= 0 -> In a l -> f a = 0.
Proof.
  intros H H0 Ha. pose proof (sum_term l f a H Ha). pose proof (H a Ha). lra.
Qed.

Lemma sum_pos l f a : (forall x, In x l -> 0 <= f x) -> In a l -> 0 < f a -> 0 < sum l f.
Proof. intros H Ha H0. pose proof (sum_term l f a H Ha); lra. Qed.

Lemma sum_lt l f g a :
  (forall x, In x l -> f x <= g x) -> In a l -> f a < g a -> sum l f < sum l g.
Proof.
  intros H Ha H0.
  assert (0 < Σ x ∈ l, (g x - f x)).
  { apply sum_pos with (a := a); auto; [intros x Hx; specialize (H x Hx)|]; lra. }
  rewrite sum_minus in *; lra.
Qed.

Lemma sum_abs l f : Rabs (sum l f) <= Σ x ∈ l, Rabs (f x).
Proof.
  induction l as [|a l IH]; simpl; [rewrite Rabs_R0; lra|].
  eapply Rle_trans; [apply Rabs_triang|lra].
Qed.

Lemma sum_app l l' f : sum (l ++ l') f = sum l f + sum l' f.
Proof. induction l as [|a l IH]; simpl; [lra|]. rewrite IH; lra. Qed.

Lemma sum_filter l f (p : T -> bool) :
  sum (filter p l) f = Σ x ∈ l, (if p x then 1 else 0) * f x.
Proof.
  induction l as [|a l IH]; simpl; [reflexivity|].
  destruct (p a); simpl; rewrite IH; lra.
Qed.

(** A bound that holds for each index of a list with a constant of its own holds with one for all. *)
Lemma list_bound l (P : T -> R -> Prop) :
  (forall x m m', P x m -> m <= m' -> P x m') ->
  (forall x, In x l -> exists m, P x m) -> exists m, 0 < m /\ forall x, In x l -> P x m.
Proof.
  intros mono. induction l as [|a l IH]; intros H.
  - exists 1; split; [lra|intros x []].
  - destruct (H a (or_introl eq_refl)) as [m1 H1].
    destruct IH as (m2 & Hm & H2); [intros; apply H; right; assumption|].
    exists (Rmax m1 m2); split; [eapply Rlt_le_trans; [exact Hm|apply Rmax_r]|].
    intros x [<-|Hx]; [eapply mono; [exact H1|apply Rmax_l]|].
    eapply mono; [apply H2, Hx|apply Rmax_r].
Qed.

Lemma list_small l (P : T -> R -> Prop) :
  (forall x d d', P x d -> 0 < d' <= d -> P x d') ->
  (forall x, In x l -> exists d, 0 < d /\ P x d) ->
  exists d, 0 < d /\ forall x, In x l -> P x d.
Proof.
  intros mono. induction l as [|a l IH]; intros H.
  - exists 1; split; [lra|intros x []].
  - destruct (H a (or_introl eq_refl)) as (d1 & Hd1 & H1).
    destruct IH as (d2 & Hd2 & H2); [intros; apply H; right; assumption|].
    assert (0 < Rmin d1 d2) by (apply Rmin_pos; assumption).
    exists (Rmin d1 d2); split; [assumption|].
    intros x [<-|Hx]; [apply mono with d1|apply mono with d2]; auto; split; auto;
      [apply Rmin_l|apply Rmin_r].
Qed.

(** The same for times: what holds eventually for each index holds eventually for all. *)
Lemma list_eventually l (P : T -> nat -> Prop) :
  (forall x, In x l -> eventually (P x)) -> eventually (fun n => forall x, In x l -> P x n).
Proof.
  induction l as [|a l IH]; intros H.
  - exists 0%nat; intros n _ x [].
  - destruct (H a (or_introl eq_refl)) as [N1 H1].
    destruct IH as [N2 H2]; [intros; apply H; right; assumption|].
    exists (max N1 N2); intros n Hn x [<-|Hx]; [apply H1|apply H2]; auto; lia.
Qed.

(** The same for any filter. *)
Lemma list_filter {S : Type} l (P : T -> S -> Prop) (F : (S -> Prop) -> Prop) :
  Filter F -> (forall x, In x l -> F (P x)) -> F (fun s => forall x, In x l -> P x s).
Proof.
  intros FF. induction l as [|a l IH]; intros H.
  - apply filter_forall. intros s x [].
  - assert (Ha : F (P a)) by (apply H; left; reflexivity).
    assert (Hl : F (fun s => forall x, In x l -> P x s)) by (apply IH; intros; apply H; right; assumption).
    generalize (filter_and _ _ Ha Hl). apply filter_imp. intros s [A B] x [<-|Hx]; [exact A|apply B, Hx].
Qed.

Lemma sum_lim l (u : nat -> T -> R) (v : T -> R) :
  (forall x, In x l -> is_lim_seq (fun n => u n x) (v x)) ->
  is_lim_seq (fun n => sum l (u n)) (sum l v).
Proof.
  induction l as [|a l IH]; simpl; intros H; [apply is_lim_seq_const|].
  apply is_lim_seq_plus'; auto.
Qed.

Lemma sum_derive l (f : T -> R -> R) (d : T -> R) (t : R) :
  (forall x, In x l -> is_derive (f x) t (d x)) ->
  is_derive (fun s => Σ x ∈ l, f x s) t (sum l d).
Proof.
  induction l as [|a l IH]; simpl; intros H; [apply @is_derive_const|].
  apply @is_derive_plus; auto.
Qed.

Lemma sum_continuous l (f : T -> R -> R) (t : R) :
  (forall x, In x l -> continuous (f x) t) -> continuous (fun s => Σ x ∈ l, f x s) t.
Proof.
  induction l as [|a l IH]; simpl; intros H; [apply continuous_const|].
  apply @continuous_plus; auto.
Qed.

End Sums.

Lemma filterlim_eps {S : Type} (f : S -> R) (y : R) (F : (S -> Prop) -> Prop) : Filter F ->
  filterlim f F (locally y) <-> forall eps, 0 < eps -> F (fun s => Rabs (f s - y) < eps).
Proof.
  intros FF. split.
  - intros H eps Heps. apply (H (fun z => Rabs (z - y) < eps)). exists (mkposreal eps Heps). intros z Hz. exact Hz.
  - intros H P [[eps Heps] HP]. unfold filtermap. generalize (H eps Heps). apply filter_imp. intros s Hs.
    apply HP. exact Hs.
Qed.

Lemma sum_swap {S T : Type} (l : list S) (m : list T) (f : S -> T -> R) :
  (Σ x ∈ l, Σ y ∈ m, f x y) = Σ y ∈ m, Σ x ∈ l, f x y.
Proof.
  induction l as [|a l IH]; simpl; [symmetry; apply sum_zero; auto|].
  rewrite IH, <- sum_plus; reflexivity.
Qed.

(** The pick of one index out of a list without repetitions. *)
Lemma sum_pick {T : Type} (dec : forall x y : T, {x = y} + {x <> y}) (l : list T) (f : T -> R) (a : T) :
  NoDup l -> In a l -> (Σ x ∈ l, if dec x a then f x else 0) = f a.
Proof.
  induction l as [|b l IH]; simpl; intros Hn Ha; [contradiction|].
  apply NoDup_cons_iff in Hn as [Hb Hn].
  destruct (dec b a) as [<-|Hba].
  - rewrite sum_zero; [lra|]. intros x Hx; destruct (dec x b) as [->|_]; [contradiction|reflexivity].
  - destruct Ha as [->|Ha]; [contradiction|]. rewrite IH; auto; lra.
Qed.
