(** * The spectrum, products along walks, and the Lax equation

    Claim [S.conserved]: what every rescaling of a recurrent network keeps, and so its local rule. *)

From Coq Require Import FunctionalExtensionality Ring.
From Balproof Require Import Sums Homogeneous OptimalScale Balance Convergence Graphs Flow Stock.

(** ** Determinants, over any commutative ring

    So that one proof serves real matrices and characteristic polynomials at complex numbers. *)

Section Determinant.
Context {U K : Type}.
Variables (zero one : K) (add mul sub : K -> K -> K) (opp : K -> K).
Hypothesis ring_K : ring_theory zero one add mul sub opp eq.
Add Ring ring_K : ring_K.

(** f c (the other columns) for each column c in turn, with signs + - + ... *)
Fixpoint expand (f : U -> list U -> K) (before after : list U) : K :=
  match after with
  | [] => zero
  | c :: r => sub (f c (before ++ r)) (expand f (before ++ [c]) r)
  end.

(** The determinant by expansion along the first row. *)
Fixpoint det (M : U -> U -> K) (rows columns : list U) : K :=
  match rows with
  | [] => one
  | i :: r => expand (fun c rest => mul (M i c) (det M r rest)) [] columns
  end.

Fixpoint prod (l : list U) (a : U -> K) : K := match l with [] => one | k :: r => mul (a k) (prod r a) end.

Fixpoint total (l : list U) (a : U -> K) : K := match l with [] => zero | k :: r => add (a k) (total r a) end.

Lemma prod_middle l c m a : prod (l ++ c :: m) a = mul (a c) (prod (l ++ m) a).
Proof. induction l as [|k l IH]; simpl; [reflexivity|]. rewrite IH. ring. Qed.

Lemma expand_scaled f g s : forall after before,
  (forall l c m, before ++ after = l ++ c :: m -> g c (l ++ m) = mul s (f c (l ++ m))) ->
  expand g before after = mul s (expand f before after).
Proof.
  induction after as [|c r IH]; intros before H; simpl; [ring|].
  rewrite IH, (H before c r eq_refl); [ring|].
  intros l d m E. apply H. rewrite <- E, <- app_assoc. reflexivity.
Qed.

(** Rows times a and columns times b: the determinant is multiplied by all of them. *)
Lemma det_scaled M M' a b : forall rows columns, length rows = length columns ->
  (forall i j, In i rows -> In j columns -> M' i j = mul (mul (a i) (M i j)) (b j)) ->
  det M' rows columns = mul (mul (prod rows a) (prod columns b)) (det M rows columns).
Proof.
  induction rows as [|i r IH]; intros columns Hl H.
  - destruct columns; [simpl; ring|discriminate].
  - simpl. apply expand_scaled. intros l c m E. simpl in E. subst columns.
    rewrite IH.
    + rewrite H by (try (left; reflexivity); apply in_elt). rewrite prod_middle. ring.
    + rewrite app_length in *. simpl in Hl. lia.
    + intros x y Hx Hy. apply H; [right; exact Hx|]. apply in_app_iff in Hy.
      apply in_app_iff. simpl. tauto.
Qed.

(** D^-1 M D has the determinant of M, *)
Theorem det_similar M M' a b units :
  (forall i, In i units -> mul (a i) (b i) = one) ->
  (forall i j, In i units -> In j units -> M' i j = mul (mul (a i) (M i j)) (b j)) ->
  det M' units units = det M units units.
Proof.
  intros Hab H. rewrite (det_scaled M M' a b units units eq_refl H).
  assert (P : mul (prod units a) (prod units b) = one).
  { clear H. induction units as [|k r IH]; simpl; [ring|].
    transitivity (mul (mul (a k) (b k)) (mul (prod r a) (prod r b))); [ring|].
    rewrite IH by (intros; apply Hab; right; assumption). rewrite Hab by (left; reflexivity). ring. }
  rewrite P. ring.
Qed.

Lemma total_scaled l s a a' : (forall k, In k l -> a' k = mul s (a k)) -> total l a' = mul s (total l a).
Proof.
  induction l as [|k r IH]; simpl; intros H; [ring|]. rewrite (H k), IH by auto. ring.
Qed.

(** M x = mu x, and x is not 0. *)
Definition eigenvector (M : U -> U -> K) (units : list U) (mu : K) (x : U -> K) : Prop :=
  (exists i, In i units /\ x i <> zero) /\
  forall i, In i units -> total units (fun j => mul (M i j) (x j)) = mul mu (x i).

(** and its eigenvectors are those of M, rescaled. *)
Theorem eigenvector_similar M M' a b units mu x :
  (forall i, In i units -> mul (a i) (b i) = one) ->
  (forall i j, In i units -> In j units -> M' i j = mul (mul (a i) (M i j)) (b j)) ->
  eigenvector M units mu x -> eigenvector M' units mu (fun i => mul (a i) (x i)).
Proof.
  intros Hab H [(i & Hi & Hx) E]. split.
  - exists i. split; [exact Hi|]. intros Z. apply Hx.
    transitivity (mul (b i) (mul (a i) (x i))).
    + transitivity (mul (mul (a i) (b i)) (x i)); [rewrite Hab by exact Hi|]; ring.
    + rewrite Z. ring.
  - intros k Hk. rewrite (total_scaled units (a k) (fun j => mul (M k j) (x j))).
    + rewrite E by exact Hk. ring.
    + intros j Hj. rewrite H by assumption.
      transitivity (mul (mul (a k) (M k j)) (mul (mul (a j) (b j)) (x j))); [ring|].
      rewrite Hab by exact Hj. ring.
Qed.

End Determinant.

Definition determinant {U : Type} (units : list U) (J : U -> U -> R) : R :=
  det 0 1 Rmult Rminus J units units.

Section Rescaled.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (units : list U).

(** The characteristic polynomial of a real matrix at a complex number: det (z - J). *)
Definition characteristic (J : U -> U -> R) (z : C) : C :=
  det (RtoC 0) (RtoC 1) Cmult Cminus (fun i j => Cminus (if eq_dec i j then z else RtoC 0) (RtoC (J i j))) units units.

Definition complex_eigenvector (J : U -> U -> R) : C -> (U -> C) -> Prop :=
  eigenvector (RtoC 0) Cplus Cmult (fun i j => RtoC (J i j)) units.

Lemma opposite_scales x : exp (- x) * exp x = 1.
Proof. rewrite <- exp_plus, Rplus_opp_l. apply exp_0. Qed.

(** [S.conserved]: rescaling keeps the determinant, *)
Theorem determinant_kept h J K :
  (forall i j, In i units -> In j units -> K i j = transformed h J i j) ->
  determinant units K = determinant units J.
Proof.
  intros H. apply (det_similar 0 1 Rplus Rmult Rminus Ropp RTheory J K (fun i => exp (- h i)) (fun i => exp (h i))).
  - intros; apply opposite_scales.
  - exact H.
Qed.

(** the characteristic polynomial, and with it the spectrum, multiplicities included, *)
Theorem spectrum_kept h J K z :
  (forall i j, In i units -> In j units -> K i j = transformed h J i j) ->
  characteristic K z = characteristic J z.
Proof.
  intros H. apply (det_similar (RtoC 0) (RtoC 1) Cplus Cmult Cminus Copp C_ring_theory _ _
    (fun i => RtoC (exp (- h i))) (fun i => RtoC (exp (h i)))).
  - intros i _. rewrite <- RtoC_mult, opposite_scales. reflexivity.
  - intros i j Hi Hj. rewrite (H i j Hi Hj). unfold transformed. rewrite !RtoC_mult.
    destruct (eq_dec i j) as [<-|]; [|ring].
    transitivity (Cminus (Cmult (Cmult (RtoC (exp (- h i))) (RtoC (exp (h i)))) z)
      (Cmult (Cmult (RtoC (exp (- h i))) (RtoC (J i i))) (RtoC (exp (h i))))); [|ring].
    rewrite <- (RtoC_mult (exp (- h i)) (exp (h i))), opposite_scales. ring.
Qed.

(** and rescales the eigenvectors. *)
Theorem eigenvectors_rescaled h J mu x : complex_eigenvector J mu x ->
  complex_eigenvector (transformed h J) mu (fun i => Cmult (RtoC (exp (- h i))) (x i)).
Proof.
  apply (eigenvector_similar (RtoC 0) (RtoC 1) Cplus Cmult Cminus Copp C_ring_theory _ _
    (fun i => RtoC (exp (- h i))) (fun i => RtoC (exp (h i)))).
  - intros i _. rewrite <- RtoC_mult, opposite_scales. reflexivity.
  - intros i j _ _. unfold transformed. rewrite !RtoC_mult. reflexivity.
Qed.

(** ** Products along walks

    The walk i <- j1 <- j2 ... of units, against the direction of the synapses; [end_of i l] is where it
    begins. *)

Fixpoint chain (J : U -> U -> R) (i : U) (l : list U) : R :=
  match l with [] => 1 | j :: r => J i j * chain J j r end.

Fixpoint end_of (i : U) (l : list U) : U := match l with [] => i | j :: r => end_of j r end.

Theorem chain_rescaled h J K : (forall i j, In i units -> In j units -> K i j = transformed h J i j) ->
  forall l i, In i units -> incl l units ->
  chain K i l = exp (- h i) * chain J i l * exp (h (end_of i l)).
Proof.
  intros H. induction l as [|j r IH]; intros i Hi Hl; simpl.
  - transitivity (exp (- h i) * exp (h i)); [symmetry; apply opposite_scales|ring].
  - assert (Hj : In j units) by (apply Hl; left; reflexivity).
    rewrite IH, (H i j Hi Hj) by (try (intros x Hx; apply Hl; right); assumption). unfold transformed.
    transitivity (exp (- h i) * J i j * (exp (- h j) * exp (h j)) * chain J j r * exp (h (end_of j r))); [ring|].
    rewrite opposite_scales. ring.
Qed.

(** [S.conserved]: closed walks keep their products ... *)
Corollary closed_chain_kept h J K i l : (forall i j, In i units -> In j units -> K i j = transformed h J i j) ->
  In i units -> incl l units -> end_of i l = i -> chain K i l = chain J i l.
Proof.
  intros H Hi Hl E. rewrite (chain_rescaled h J K H l i Hi Hl), E.
  rewrite Rmult_comm, <- Rmult_assoc, (Rmult_comm (exp (h i))), opposite_scales. ring.
Qed.

(** ... and so do walks from an input (or the bias) to an output, of weight v = e^h times the old one at the
    output and u = e^-h times the old one at the input. *)
Corollary open_chain_kept h J K i l v u : (forall i j, In i units -> In j units -> K i j = transformed h J i j) ->
  In i units -> incl l units ->
  (v * exp (h i)) * chain K i l * (exp (- h (end_of i l)) * u) = v * chain J i l * u.
Proof.
  intros H Hi Hl. rewrite (chain_rescaled h J K H l i Hi Hl).
  transitivity ((exp (- h i) * exp (h i)) * v * chain J i l * u * (exp (- h (end_of i l)) * exp (h (end_of i l))));
    [ring|]. rewrite !opposite_scales. ring.
Qed.

End Rescaled.

(** ** The local rule *)

Section Rule.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (units : list U).
Variables (alpha : U -> U -> R) (p tau : R) (J : R -> U -> U -> R).
Hypotheses (nodup : NoDup units) (p_pos : 0 < p).
Hypothesis rule : stock_rule units alpha p tau J.

Notation g t := (unit_imbalance units alpha p (J t)).

(** [S.conserved]: what rescalings keep the rule keeps. *)
Theorem rule_conserves t : 0 <= t ->
  determinant units (J t) = determinant units (J 0) /\
  (forall z, characteristic eq_dec units (J t) z = characteristic eq_dec units (J 0) z) /\
  (forall i l, In i units -> incl l units -> end_of i l = i -> chain (J t) i l = chain (J 0) i l).
Proof.
  intros Ht. destruct (rule_transforms eq_dec units alpha p tau nodup p_pos J rule) as (h & _ & _ & Hr).
  assert (H : forall i j, In i units -> In j units -> J t i j = transformed (h t) (J 0) i j)
    by (intros; apply Hr; assumption).
  split; [|split].
  - apply (determinant_kept units (h t)), H.
  - intros z. apply (spectrum_kept eq_dec units (h t)), H.
  - intros i l. apply (closed_chain_kept units (h t)), H.
Qed.

Definition diagonal (d : U -> R) i j : R := if eq_dec i j then d i else 0.
Definition matrix_product (A B : U -> U -> R) i j : R := Σ k ∈ units, A i k * B k j.

(** The Lax equation tau dJ/dt = J G - G J, with G the diagonal matrix of the imbalances. *)
Theorem lax_equation i j t : In i units -> In j units -> 0 < t ->
  is_derive (fun s => J s i j) t
    ((matrix_product (J t) (diagonal (g t)) i j - matrix_product (diagonal (g t)) (J t) i j) / tau).
Proof.
  intros Hi Hj Ht. evar_last; [apply (rule i j Hi Hj), Ht|]. unfold matrix_product, diagonal, Rdiv. f_equal.
  rewrite (sum_ext units (fun k => J t i k * (if eq_dec k j then g t k else 0))
    (fun k => (if eq_dec k j then 1 else 0) * (J t i k * g t k))) by (intros k _; destruct (eq_dec k j); ring).
  rewrite (sum_ext units (fun k => (if eq_dec i k then g t i else 0) * J t k j)
    (fun k => (if eq_dec k i then 1 else 0) * (g t i * J t k j))).
  - rewrite !sum_delta by assumption. ring.
  - intros k _. destruct (eq_dec i k), (eq_dec k i); subst; try contradiction; ring.
Qed.

End Rule.

(** The determinant is what one expects. *)
Fact determinant_two J : determinant [true; false] J = J true true * J false false - J true false * J false true.
Proof. unfold determinant. simpl. ring. Qed.
