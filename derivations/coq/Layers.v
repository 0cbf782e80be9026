(** * Layers under gradient flow

    Claim [R.du-hu-lee]: sums over a layer of units of degree 1, and the whole matrix between linear layers. *)

From Coq Require Import FunctionalExtensionality.
From Balproof Require Import Sums Balance LinearAlgebra Convergence Graphs Gradient.

(** ** Layers of units of degree 1

    A network as in [Graphs]; biases are edges from the visible node. *)

Section Layer.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (source target : E -> option U).
Hypothesis wf : well_formed edges units source target.

Notation inc := (incidence eq_dec source target).

(** 1 if the node is a unit of the layer. *)
Definition in_layer (layer : list U) (n : option U) : R :=
  match n with Some k => if in_dec eq_dec k layer then 1 else 0 | None => 0 end.

Lemma sum_at_unit layer n : NoDup layer -> (Σ k ∈ layer, at_unit eq_dec n k) = in_layer layer n.
Proof.
  intros Hl. destruct n as [j|]; simpl; [|apply sum_zero; intros; reflexivity].
  destruct (in_dec eq_dec j layer) as [H|H].
  - rewrite (sum_ext layer _ (fun k => if eq_dec k j then 1 else 0)).
    + exact (sum_pick eq_dec layer (fun _ => 1) j Hl H).
    + intros k _. destruct (eq_dec j k), (eq_dec k j); subst; try contradiction; reflexivity.
  - apply sum_zero. intros k Hk. destruct (eq_dec j k) as [->|]; [contradiction|reflexivity].
Qed.

(** |W_l|^2 + |b_l|^2, the squares of what comes into the layer from elsewhere, less |W_(l+1)|^2, the squares
    of what goes out of it. *)
Definition layer_difference (layer : list U) (w : E -> R) : R :=
  (Σ e ∈ edges, in_layer layer (target e) * w e ^ 2) - Σ e ∈ edges, in_layer layer (source e) * w e ^ 2.

Theorem layer_conserved Err a b w layer :
  invariant units inc Err -> flow edges Err 0 a b w -> NoDup layer -> incl layer units ->
  forall s t, a < s < b -> a < t < b -> layer_difference layer (w t) = layer_difference layer (w s).
Proof.
  intros Hinv Hflow Hl Hin s t Hs Ht.
  assert (L : forall w, layer_difference layer w = Σ k ∈ layer, deficit edges inc (squares w) k).
  { intros v. unfold layer_difference, deficit. rewrite sum_swap, <- sum_minus. apply sum_ext. intros e _.
    unfold incidence, squares. rewrite (sum_scal_r layer (v e * v e)), sum_minus, !sum_at_unit by exact Hl. ring. }
  rewrite !L. apply sum_ext. intros k Hk.
  apply (deficit_conserved edges units inc Err a b w Hinv Hflow k (Hin k Hk) s t Hs Ht).
Qed.

End Layer.

(** ** Two linear layers, without biases

    W k m is the weight from unit m of the layer below to unit k, V o k from k to unit o of the layer above.
    Other weights may be there. *)

Inductive weight (H D O F : Type) : Type :=
  | below (k : H) (m : D)
  | above (o : O) (k : H)
  | other (f : F).
Arguments below {H D O F}. Arguments above {H D O F}. Arguments other {H D O F}.

Section Linear.
Context {H D O F : Type} (dec : forall j k : H, {j = k} + {j <> k}).
Variables (hidden : list H) (ins : list D) (outs : list O) (others : list F).
Hypothesis nodup : NoDup hidden.

Notation weights := (weight H D O F -> R).
Notation W w := (fun k m => w (below k m)).
Notation V w := (fun o k => w (above o k)).

Definition all_weights : list (weight H D O F) :=
  map (fun e => below (fst e) (snd e)) (list_prod hidden ins)
  ++ map (fun e => above (fst e) (snd e)) (list_prod outs hidden) ++ map other others.

(** Linear layers compute V (W x): so an error that depends on the weights through the function alone
    depends on these two layers through their product V W alone. *)
Definition through_product (Err : weights -> R) : Prop := forall w w',
  (forall o m, In o outs -> In m ins ->
    (Σ k ∈ hidden, w' (above o k) * w' (below k m)) = Σ k ∈ hidden, w (above o k) * w (below k m)) ->
  (forall f, In f others -> w' (other f) = w (other f)) -> Err w' = Err w.

(** W W^T - V^T V at (i, j). *)
Definition layer_matrix (w : weights) (i j : H) : R :=
  (Σ m ∈ ins, w (below i m) * w (below j m)) - Σ o ∈ outs, w (above o i) * w (above o j).

Lemma sum_map {S T : Type} (f : S -> T) (l : list S) (g : T -> R) : sum (map f l) g = Σ x ∈ l, g (f x).
Proof. induction l as [|a l IH]; simpl; [reflexivity|]. rewrite IH. reflexivity. Qed.

Lemma sum_product {S T : Type} (l : list S) (m : list T) (f : S * T -> R) :
  (Σ e ∈ list_prod l m, f e) = Σ x ∈ l, Σ y ∈ m, f (x, y).
Proof. induction l as [|a l IH]; simpl; [reflexivity|]. rewrite sum_app, sum_map, IH. reflexivity. Qed.

Lemma sum_weights (f : weight H D O F -> R) :
  (Σ e ∈ all_weights, f e) = (Σ k ∈ hidden, Σ m ∈ ins, f (below k m))
    + ((Σ o ∈ outs, Σ k ∈ hidden, f (above o k)) + Σ x ∈ others, f (other x)).
Proof. unfold all_weights. rewrite !sum_app, !sum_map, !sum_product. reflexivity. Qed.

Lemma below_in k m : In k hidden -> In m ins -> In (below k m) all_weights.
Proof.
  intros Hk Hm. apply in_or_app. left. apply in_map_iff. exists (k, m). split; [reflexivity|apply in_prod; assumption].
Qed.

Lemma above_in o k : In o outs -> In k hidden -> In (above o k) all_weights.
Proof.
  intros Ho Hk. apply in_or_app. right. apply in_or_app. left.
  apply in_map_iff. exists (o, k). split; [reflexivity|apply in_prod; assumption].
Qed.

(** Row i of W gets s times row j, column j of V loses s times column i; for i = j, row i is multiplied by
    exp s and column i divided. The product V W stays. *)
Definition shear (i j : H) (s : R) (w : weights) (e : weight H D O F) : R :=
  match e with
  | below k m => if dec i j then (if dec k i then exp s * w e else w e)
                 else w e + (if dec k i then s * w (below j m) else 0)
  | above o k => if dec i j then (if dec k i then exp (- s) * w e else w e)
                 else w e - (if dec k j then s * w (above o i) else 0)
  | other _ => w e
  end.

Lemma shear_product i j s w o m : In i hidden -> In j hidden ->
  (Σ k ∈ hidden, shear i j s w (above o k) * shear i j s w (below k m))
  = Σ k ∈ hidden, w (above o k) * w (below k m).
Proof.
  intros Hi Hj. unfold shear. destruct (dec i j) as [<-|N].
  - apply sum_ext. intros k _. destruct (dec k i); [|reflexivity].
    transitivity ((exp (- s) * exp s) * (w (above o k) * w (below k m))); [ring|].
    rewrite <- exp_plus, Rplus_opp_l, exp_0. ring.
  - rewrite (sum_ext hidden _ (fun k => w (above o k) * w (below k m)
      + ((if dec k i then s * (w (above o k) * w (below j m)) else 0)
         - (if dec k j then s * (w (above o i) * w (below k m)) else 0)))).
    + rewrite sum_plus, sum_minus.
      rewrite (sum_pick dec hidden (fun k => s * (w (above o k) * w (below j m))) i nodup Hi).
      rewrite (sum_pick dec hidden (fun k => s * (w (above o i) * w (below k m))) j nodup Hj). ring.
    + intros k _. destruct (dec k i) as [E1|], (dec k j) as [E2|]; subst; try contradiction; ring.
Qed.

(** The gradient identity of linear layers, dE/dW W^T = V^T dE/dV, at (i, j). *)
Theorem matrix_gradient_identity Err w g i j : through_product Err -> has_gradient all_weights Err w g ->
  In i hidden -> In j hidden ->
  (Σ m ∈ ins, g (below i m) * w (below j m)) = Σ o ∈ outs, w (above o i) * g (above o j).
Proof.
  intros Hp Hg Hi Hj.
  assert (S0 : forall e, shear i j 0 w e = w e).
  { intros [k m|o k|f]; simpl; [destruct (dec i j), (dec k i)|destruct (dec i j) as [_|_]; [destruct (dec k i)|destruct (dec k j)]|];
      rewrite ?Ropp_0, ?exp_0; ring. }
  assert (Eq : shear i j 0 w = w) by (apply functional_extensionality, S0).
  set (dw := fun e : weight H D O F => match e with
    | below k m => if dec k i then w (below j m) else 0
    | above o k => if dec k j then - w (above o i) else 0
    | other _ => 0 end).
  assert (Der : is_derive (fun s => Err (shear i j s w)) 0 (Σ e ∈ all_weights, g e * dw e)).
  { apply (chain_rule all_weights Err (fun s => shear i j s w) 0 g dw); [rewrite Eq; exact Hg|].
    intros [k m|o k|f] _; unfold shear, dw.
    - destruct (dec i j) as [<-|N], (dec k i) as [->|]; auto_derive; try exact I; rewrite ?exp_0; ring.
    - destruct (dec i j) as [<-|N]; [destruct (dec k i) as [->|]|destruct (dec k j) as [->|]];
        auto_derive; try exact I; rewrite ?Ropp_0, ?exp_0; ring.
    - auto_derive; [exact I|reflexivity]. }
  assert (Z : is_derive (fun s => Err (shear i j s w)) 0 0).
  { apply is_derive_ext with (fun _ => Err w); [|apply @is_derive_const].
    intros s. symmetry. apply Hp; [intros; apply shear_product; assumption|reflexivity]. }
  pose proof (is_derive_unique _ _ _ Der) as X. rewrite (is_derive_unique _ _ _ Z) in X.
  rewrite sum_weights in X. unfold dw in X.
  rewrite (sum_ext hidden (fun k => Σ m ∈ ins, g (below k m) * (if dec k i then w (below j m) else 0))
    (fun k => if dec k i then Σ m ∈ ins, g (below k m) * w (below j m) else 0)) in X.
  2: { intros k _. destruct (dec k i); [reflexivity|apply sum_zero; intros; ring]. }
  rewrite (sum_pick dec hidden (fun k => Σ m ∈ ins, g (below k m) * w (below j m)) i nodup Hi) in X.
  rewrite (sum_ext outs (fun o => Σ k ∈ hidden, g (above o k) * (if dec k j then - w (above o i) else 0))
    (fun o => - (w (above o i) * g (above o j)))) in X.
  2: { intros o _. rewrite (sum_ext hidden _ (fun k => if dec k j then - (w (above o i) * g (above o k)) else 0))
         by (intros k _; destruct (dec k j); ring).
       apply (sum_pick dec hidden (fun k => - (w (above o i) * g (above o k))) j nodup Hj). }
  rewrite sum_opp, (sum_zero others) in X by (intros; ring). lra.
Qed.

(** [R.du-hu-lee]: every entry of W W^T - V^T V is conserved by dw/dt = - grad E. *)
Theorem layer_matrix_conserved Err a b w i j : through_product Err -> flow all_weights Err 0 a b w ->
  In i hidden -> In j hidden -> forall s t, a < s < b -> a < t < b ->
  layer_matrix (w t) i j = layer_matrix (w s) i j.
Proof.
  intros Hp Hf Hi Hj s t Hs Ht.
  apply (constant_between (fun s => layer_matrix (w s) i j) a b); [|exact Hs|exact Ht].
  intros r Hr. destruct (Hf r Hr) as (g & Hg & Dw).
  pose proof (matrix_gradient_identity Err (w r) g i j Hp Hg Hi Hj) as I1.
  pose proof (matrix_gradient_identity Err (w r) g j i Hp Hg Hj Hi) as I2.
  assert (P : forall d e, In d all_weights -> In e all_weights ->
    is_derive (fun s => w s d * w s e) r (- (g d * w r e) - w r d * g e)).
  { intros d e Hd He. evar_last; [apply (is_derive_mult (fun s => w s d) (fun s => w s e));
      [apply Dw, Hd|apply Dw, He|intros; apply Rmult_comm]|]. unfold plus, mult; simpl. ring. }
  evar_last.
  - apply (is_derive_minus (fun s => Σ m ∈ ins, w s (below i m) * w s (below j m))
      (fun s => Σ o ∈ outs, w s (above o i) * w s (above o j))).
    + apply (sum_derive ins (fun m s => w s (below i m) * w s (below j m))). intros m Hm.
      apply P; apply below_in; assumption.
    + apply (sum_derive outs (fun o s => w s (above o i) * w s (above o j))). intros o Ho.
      apply P; apply above_in; assumption.
  - unfold minus, plus, opp; simpl. rewrite !sum_minus, !sum_opp.
    rewrite (sum_ext ins (fun m => w r (below i m) * g (below j m)) (fun m => g (below j m) * w r (below i m)))
      by (intros; ring).
    rewrite (sum_ext outs (fun o => g (above o i) * w r (above o j)) (fun o => w r (above o j) * g (above o i)))
      by (intros; ring).
    rewrite I1, I2. ring.
Qed.

End Linear.
