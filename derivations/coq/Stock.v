(** * The local rule of recurrent networks

    J i j is the synapse from unit j to unit i, and every entry of the matrix counts, zeros too. The rule is
    tau dJ_ij/dt = (g_j - g_i) J_ij, with g what a unit receives less what it sends. Claims
    [S.gradient-flow] and [S.convergence]; a solution on [0, oo) is given here, and [Existence] shows that there is one. *)

From Coq Require Import FunctionalExtensionality.
From Balproof Require Import Sums Homogeneous OptimalScale Balance LinearAlgebra Convergence Graphs Flow.

Lemma apow_0 p : apow 0 p = 0.
Proof. unfold apow. destruct (Req_EM_T 0 0); [reflexivity|contradiction]. Qed.

Lemma sum_list_prod {S T : Type} (l : list S) (m : list T) (f : S * T -> R) :
  (Σ e ∈ list_prod l m, f e) = Σ x ∈ l, Σ y ∈ m, f (x, y).
Proof.
  assert (M : forall a (m : list T), (Σ e ∈ map (fun y => (a, y)) m, f e) = Σ y ∈ m, f (a, y)).
  { intros a r. induction r as [|b r IH]; simpl; [reflexivity|]. rewrite IH. reflexivity. }
  induction l as [|a l IH]; simpl; [reflexivity|]. rewrite sum_app, M, IH. reflexivity.
Qed.

Section Matrix.
Context {U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (units : list U) (alpha : U -> U -> R) (p tau : R).

(** c_ij = alpha_ij |J_ij|^p, C their sum, g_i = sum_j c_ij - sum_j c_ji. *)
Definition synapse_cost (J : U -> U -> R) i j : R := alpha i j * apow (J i j) p.
Definition matrix_cost (J : U -> U -> R) : R := Σ i ∈ units, Σ j ∈ units, synapse_cost J i j.
Definition unit_imbalance (J : U -> U -> R) i : R :=
  (Σ j ∈ units, synapse_cost J i j) - Σ j ∈ units, synapse_cost J j i.

(** tau dJ_ij/dt = (g_j - g_i) J_ij for t > 0, and J is continuous at 0 from the right. *)
Definition stock_rule (J : R -> U -> U -> R) : Prop :=
  forall i j, In i units -> In j units ->
    filterlim (fun t => J t i j) (at_right 0) (locally (J 0 i j)) /\
    forall t, 0 < t ->
      is_derive (fun s => J s i j) t ((unit_imbalance (J t) j - unit_imbalance (J t) i) * J t i j / tau).

(** The paper's transform. *)
Definition transformed (h : U -> R) (J : U -> U -> R) i j : R := exp (- h i) * J i j * exp (h j).

Definition matrix_balanced (J : U -> U -> R) : Prop := forall i, In i units -> unit_imbalance J i = 0.

(** The matrix as a graph, with or without its zeros. *)
Definition post (e : U * U) : option U := Some (fst e).
Definition pre (e : U * U) : option U := Some (snd e).
Definition all_pairs : list (U * U) := list_prod units units.
Definition synapses (J : U -> U -> R) : list (U * U) :=
  filter (fun e => if Req_EM_T (J (fst e) (snd e)) 0 then false else true) all_pairs.
Definition synapse (J : U -> U -> R) (e : U * U) : R := J (fst e) (snd e).

Hypothesis nodup : NoDup units.

Lemma entries_in i j : In (i, j) all_pairs <-> In i units /\ In j units.
Proof. apply in_prod_iff. Qed.

Lemma synapses_in J i j : In (i, j) (synapses J) <-> In i units /\ In j units /\ J i j <> 0.
Proof.
  unfold synapses. rewrite filter_In, entries_in. simpl. destruct (Req_EM_T (J i j) 0); intuition congruence.
Qed.

Lemma nodup_app {T : Type} (l m : list T) :
  NoDup l -> NoDup m -> (forall x, In x l -> ~ In x m) -> NoDup (l ++ m).
Proof.
  intros Hl Hm. induction Hl as [|a l Ha Hl IH]; simpl; intros D; [exact Hm|]. constructor.
  - rewrite in_app_iff. intros [H|H]; [contradiction|]. apply (D a); auto.
  - apply IH. intros x Hx. apply D. right; exact Hx.
Qed.

Lemma nodup_product (l m : list U) : NoDup l -> NoDup m -> NoDup (list_prod l m).
Proof.
  intros Hl Hm. induction Hl as [|a l Ha Hl IH]; simpl; [constructor|]. apply nodup_app; [|exact IH|].
  - apply FinFun.Injective_map_NoDup; [|exact Hm]. intros x y H. inversion H. reflexivity.
  - intros [b y] Hx Hy. apply in_map_iff in Hx as (z & Hz & _). inversion Hz; subst.
    apply in_prod_iff in Hy as [Hy _]. contradiction.
Qed.

Lemma entries_well_formed (l : list (U * U)) : incl l all_pairs -> NoDup l -> well_formed l units pre post.
Proof.
  intros Hl Hn. split; [exact nodup|]. split; [exact Hn|]. intros [i j] k He Hk.
  apply Hl, entries_in in He. unfold post, pre in Hk. simpl in Hk. destruct Hk as [Hk|Hk]; inversion Hk; subst; tauto.
Qed.

Lemma all_well_formed : well_formed all_pairs units pre post.
Proof. apply entries_well_formed; [apply incl_refl|apply nodup_product; exact nodup]. Qed.

Lemma synapses_well_formed J : well_formed (synapses J) units pre post.
Proof.
  apply entries_well_formed; [apply incl_filter|]. apply NoDup_filter, nodup_product; exact nodup.
Qed.

Notation inc := (incidence eq_dec pre post).

Lemma entry_scale h e : In e all_pairs -> log_scale units inc h e = h (fst e) - h (snd e).
Proof. intros He. rewrite (incidence_scale eq_dec all_pairs units pre post all_well_formed h e He). reflexivity. Qed.

Lemma sum_entries (f : U * U -> R) : (Σ e ∈ all_pairs, f e) = Σ i ∈ units, Σ j ∈ units, f (i, j).
Proof. apply sum_list_prod. Qed.

(** Zeros cost nothing, so sums over the synapses are sums over all entries. *)
Lemma sum_synapses J (f : U * U -> R) : (forall i j, In i units -> In j units -> J i j = 0 -> f (i, j) = 0) ->
  (Σ e ∈ synapses J, f e) = Σ e ∈ all_pairs, f e.
Proof.
  intros H. unfold synapses. rewrite sum_filter. apply sum_ext. intros [i j] He. simpl.
  apply entries_in in He as [Hi Hj]. destruct (Req_EM_T (J i j) 0) as [Z|_]; [rewrite (H i j Hi Hj Z)|]; ring.
Qed.

Lemma sum_delta (f : U -> R) k : In k units -> (Σ i ∈ units, (if eq_dec i k then 1 else 0) * f i) = f k.
Proof.
  intros Hk. rewrite <- (sum_pick eq_dec units f k nodup Hk). apply sum_ext. intros i _.
  destruct (eq_dec i k); ring.
Qed.

Let coefficient (e : U * U) : R := alpha (fst e) (snd e).

Lemma unit_imbalance_is J k : In k units -> excess all_pairs inc coefficient p (synapse J) k = unit_imbalance J k.
Proof.
  intros Hk. unfold excess. rewrite sum_entries. unfold incidence, synapse, coefficient. simpl.
  rewrite (sum_ext units _ (fun i => (if eq_dec i k then 1 else 0) * (Σ j ∈ units, synapse_cost J i j)
    - Σ j ∈ units, (if eq_dec j k then 1 else 0) * synapse_cost J i j)).
  - rewrite sum_minus, sum_delta by exact Hk. unfold unit_imbalance. f_equal.
    apply sum_ext. intros i _. apply (sum_delta (fun j => synapse_cost J i j)), Hk.
  - intros i _. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros j _. unfold synapse_cost. ring.
Qed.

Lemma unit_imbalance_on_synapses J K k : (forall i j, In i units -> In j units -> J i j = 0 -> K i j = 0) -> In k units ->
  excess (synapses J) inc coefficient p (synapse K) k = unit_imbalance K k.
Proof.
  intros H Hk. rewrite <- unit_imbalance_is by exact Hk. unfold excess. apply sum_synapses.
  intros i j Hi Hj Z. unfold synapse, apow. simpl. rewrite (H i j Hi Hj Z).
  destruct (Req_EM_T 0 0); [ring|contradiction].
Qed.

Lemma matrix_cost_is J : matrix_cost J = cost_sum all_pairs coefficient p (synapse J).
Proof. unfold cost_sum. rewrite sum_entries. reflexivity. Qed.

Lemma cost_on_synapses J K : (forall i j, In i units -> In j units -> J i j = 0 -> K i j = 0) ->
  cost_sum (synapses J) coefficient p (synapse K) = matrix_cost K.
Proof.
  intros H. rewrite matrix_cost_is. unfold cost_sum. apply sum_synapses.
  intros i j Hi Hj Z. unfold synapse, apow. simpl. rewrite (H i j Hi Hj Z). destruct (Req_EM_T 0 0); [ring|contradiction].
Qed.

Lemma rule_is_local J : stock_rule J ->
  local_rule all_pairs units inc coefficient p tau (fun t => synapse (J t)).
Proof.
  intros HJ [i j] He. apply entries_in in He as He'. destruct He' as [Hi Hj].
  destruct (HJ i j Hi Hj) as [R0 D]. split; [exact R0|]. intros t Ht.
  evar_last; [apply (D t Ht)|]. rewrite entry_scale by exact He. simpl fst. simpl snd.
  rewrite !unit_imbalance_is by assumption. unfold synapse, Rdiv. simpl. ring.
Qed.

Hypothesis p_pos : 0 < p.

(** [S.gradient-flow]: along a solution J is the paper's transform of J(0), with tau dh/dt = g, h(0) = 0 ... *)
Theorem rule_transforms J : stock_rule J -> exists h : R -> U -> R,
  (forall k, h 0 k = 0) /\
  (forall k, In k units -> filterlim (fun t => h t k) (at_right 0) (locally (h 0 k)) /\
    forall t, 0 < t -> is_derive (fun s => h s k) t (unit_imbalance (J t) k / tau)) /\
  forall t i j, 0 <= t -> In i units -> In j units -> J t i j = transformed (h t) (J 0) i j.
Proof.
  intros HJ.
  destruct (rule_rescales all_pairs units inc coefficient p tau p_pos _ (rule_is_local J HJ))
    as (h & H0 & Rh & Dh & Hr).
  exists (fun t k => - h t k). split; [|split; [intros k Hk; split|]].
  - intros k. rewrite H0. ring.
  - apply (comp_filterlim Ropp (fun t => h t k)); [apply Rh|].
    apply (ex_derive_continuous Ropp). auto_derive. exact I.
  - intros t Ht. evar_last; [apply (is_derive_opp (fun s => h s k)), Dh, Ht|].
    rewrite unit_imbalance_is by assumption. unfold opp, Rdiv. simpl. ring.
  - intros t i j Ht Hi Hj. assert (He : In (i, j) all_pairs) by (apply entries_in; auto).
    specialize (Hr t (i, j) Ht He). unfold synapse in Hr. simpl in Hr. rewrite Hr.
    rewrite entry_scale by exact He. unfold transformed. simpl.
    rewrite Ropp_involutive. unfold Rminus. rewrite exp_plus. ring.
Qed.

(** ... the cost changes at the rate - p |g|^2 / tau, so it falls strictly unless g = 0 ... *)
Theorem rule_descends J t : 0 < tau -> stock_rule J -> 0 < t ->
  is_derive (fun s => matrix_cost (J s)) t (- (p / tau) * Σ k ∈ units, unit_imbalance (J t) k ^ 2) /\
  (~ matrix_balanced (J t) -> - (p / tau) * (Σ k ∈ units, unit_imbalance (J t) k ^ 2) < 0).
Proof.
  intros Htau HJ Ht. split.
  - apply is_derive_ext with (fun s => cost_sum all_pairs coefficient p (synapse (J s))).
    { intros s. symmetry. apply matrix_cost_is. }
    evar_last; [apply (rule_cost_derivative all_pairs units inc coefficient p tau p_pos (fun t => synapse (J t)) t);
      [lra|apply rule_is_local, HJ|exact Ht]|].
    f_equal. apply sum_ext. intros k Hk. rewrite unit_imbalance_is by exact Hk. reflexivity.
  - intros N. assert (X : exists k, In k units /\ unit_imbalance (J t) k <> 0).
    { destruct (Exists_dec (fun k => unit_imbalance (J t) k <> 0) units) as [X|X].
      - intros k. destruct (Req_EM_T (unit_imbalance (J t) k) 0); [right|left]; auto.
      - apply Exists_exists in X. exact X.
      - exfalso. apply N. intros k Hk. destruct (Req_dec (unit_imbalance (J t) k) 0) as [|Z]; [assumption|].
        exfalso. apply X, Exists_exists. exists k; auto. }
    destruct X as (k & Hk & Z).
    assert (0 < Σ k ∈ units, unit_imbalance (J t) k ^ 2).
    { apply sum_pos with k; [intros; apply pow2_ge_0|exact Hk|]. apply pow2_gt_0, Z. }
    assert (0 < p / tau) by (apply Rdiv_lt_0_compat; assumption). nra.
Qed.

(** ... and - p g is the gradient of the cost in the paper's log-scales, p g in those of this package. *)
Theorem cost_gradient J h k : In k units ->
  is_derive (fun s => matrix_cost (transformed (put eq_dec h k s) J)) (h k)
    (- p * unit_imbalance (transformed h J) k) /\
  is_derive (fun s => matrix_cost (transformed (fun j => - put eq_dec h k s j) J)) (h k)
    (p * unit_imbalance (transformed (fun j => - h j) J) k).
Proof.
  intros Hk.
  assert (X : forall sign,
    is_derive (fun s => matrix_cost (transformed (fun j => sign * put eq_dec h k s j) J)) (h k)
      (- sign * p * unit_imbalance (transformed (fun j => sign * h j) J) k)).
  { intros sign.
    assert (C : forall x i j, synapse_cost (transformed x J) i j = alpha i j * apow (J i j) p * exp (p * (x j - x i))).
    { intros x i j. unfold synapse_cost, transformed.
      replace (exp (- x i) * J i j * exp (x j)) with (exp (x j - x i) * J i j)
        by (unfold Rminus; rewrite exp_plus; ring).
      rewrite power_cost_is. unfold power_cost. ring. }
    rewrite <- unit_imbalance_is by exact Hk. unfold excess. rewrite <- sum_scal, sum_entries.
    apply (sum_derive units
      (fun i s => Σ j ∈ units, synapse_cost (transformed (fun j => sign * put eq_dec h k s j) J) i j)).
    intros i _.
    apply (sum_derive units (fun j s => synapse_cost (transformed (fun j => sign * put eq_dec h k s j) J) i j)).
    intros j _. apply is_derive_ext with (fun s => alpha i j * apow (J i j) p
      * exp (p * (sign * put eq_dec h k s j - sign * put eq_dec h k s i))); [intros s; symmetry; apply C|].
    pose proof (C (fun j => sign * h j) i j) as C0. unfold synapse_cost in C0.
    unfold synapse, coefficient. simpl fst. simpl snd. rewrite C0.
    unfold incidence, put. simpl.
    destruct (eq_dec j k) as [->|], (eq_dec i k) as [->|]; (auto_derive; [exact I|]; unfold Rminus; try ring). }
  split.
  - pose proof (X 1) as Y. revert Y.
    replace (transformed (fun j => 1 * h j) J) with (transformed h J).
    + intros Y. evar_last; [eapply is_derive_ext; [|exact Y]|ring].
      intros s. unfold matrix_cost, synapse_cost, transformed. apply sum_ext. intros i _. apply sum_ext. intros j _.
      rewrite !Rmult_1_l. reflexivity.
    + unfold transformed. apply functional_extensionality. intros i.
      apply functional_extensionality. intros j. rewrite !Rmult_1_l. reflexivity.
  - pose proof (X (- 1)) as Y. revert Y.
    replace (transformed (fun j => - 1 * h j) J) with (transformed (fun j => - h j) J).
    + intros Y. evar_last; [eapply is_derive_ext; [|exact Y]|ring].
      intros s. unfold matrix_cost, synapse_cost, transformed. apply sum_ext. intros i _. apply sum_ext. intros j _.
      replace (-1 * put eq_dec h k s i) with (- put eq_dec h k s i) by ring.
      replace (-1 * put eq_dec h k s j) with (- put eq_dec h k s j) by ring. reflexivity.
    + unfold transformed. apply functional_extensionality. intros i.
      apply functional_extensionality. intros j.
      replace (-1 * h i) with (- h i) by ring. replace (-1 * h j) with (- h j) by ring. reflexivity.
Qed.

Lemma cost_derivative J i j t : stock_rule J -> In i units -> In j units -> 0 < t ->
  is_derive (fun s => synapse_cost (J s) i j) t
    (p / tau * synapse_cost (J t) i j * (unit_imbalance (J t) j - unit_imbalance (J t) i)).
Proof.
  intros HJ Hi Hj Ht. destruct (rule_transforms J HJ) as (h & _ & Dh & Hr).
  assert (C : forall s, 0 <= s ->
    synapse_cost (J s) i j = alpha i j * apow (J 0 i j) p * exp (p * (h s j - h s i))).
  { intros s Hs. unfold synapse_cost. rewrite (Hr s i j Hs Hi Hj). unfold transformed.
    replace (exp (- h s i) * J 0 i j * exp (h s j)) with (exp (h s j - h s i) * J 0 i j)
      by (unfold Rminus; rewrite exp_plus; ring).
    rewrite power_cost_is. unfold power_cost. ring. }
  apply is_derive_ext_loc with (fun s => alpha i j * apow (J 0 i j) p * exp (p * (h s j - h s i))).
  { exists (mkposreal t Ht). intros s Hs. apply Rabs_lt_between' in Hs. simpl in Hs. symmetry. apply C. lra. }
  rewrite C by lra. evar_last.
  - apply (is_derive_scal (fun s => exp (p * (h s j - h s i)))).
    apply (is_derive_comp (fun x => exp (p * x)) (fun s => h s j - h s i)).
    + auto_derive; [exact I|reflexivity].
    + apply (is_derive_minus (fun s => h s j) (fun s => h s i)); apply Dh; assumption.
  - unfold minus, plus, opp, scal; simpl; unfold mult; simpl. unfold Rdiv. ring.
Qed.

(** [S.convergence]: dg/dt = - (p/tau) L g, with L the Laplacian of c + c^T. *)
Theorem unit_imbalance_derivative J i t : stock_rule J -> In i units -> 0 < t ->
  is_derive (fun s => unit_imbalance (J s) i) t
    (- (p / tau) * Σ j ∈ units, (synapse_cost (J t) i j + synapse_cost (J t) j i)
      * (unit_imbalance (J t) i - unit_imbalance (J t) j)).
Proof.
  intros HJ Hi Ht. evar_last.
  - apply @is_derive_minus.
    + apply (sum_derive units (fun j s => synapse_cost (J s) i j)). intros j Hj. apply cost_derivative; assumption.
    + apply (sum_derive units (fun j s => synapse_cost (J s) j i)). intros j Hj. apply cost_derivative; assumption.
  - unfold minus, plus, opp; simpl. rewrite <- sum_scal.
    change (sum units ?f + - sum units ?g) with (sum units f - sum units g).
    rewrite <- sum_minus. apply sum_ext. intros j _. ring.
Qed.

Lemma synapse_cost_right J i j : stock_rule J -> In i units -> In j units ->
  filterlim (fun s => synapse_cost (J s) i j) (at_right 0) (locally (synapse_cost (J 0) i j)).
Proof.
  intros HJ Hi Hj. apply scal_filterlim; [apply _|].
  apply (comp_filterlim (fun x => apow x p) (fun s => J s i j)); [apply HJ; assumption|apply apow_continuous, p_pos].
Qed.

(** The cost does not rise. *)
Lemma rule_cost_falls J s t : 0 < tau -> stock_rule J -> 0 <= s <= t -> matrix_cost (J t) <= matrix_cost (J s).
Proof.
  intros Htau HJ. apply (nonincreasing (fun t => matrix_cost (J t))
    (fun t => - (p / tau) * Σ k ∈ units, unit_imbalance (J t) k ^ 2)).
  - intros x Hx. split; [apply rule_descends; assumption|].
    assert (0 <= Σ k ∈ units, unit_imbalance (J x) k ^ 2) by (apply sum_nonneg; intros; apply pow2_ge_0).
    assert (0 < p / tau) by (apply Rdiv_lt_0_compat; assumption). nra.
  - apply (sum_filterlim units (fun i t => Σ j ∈ units, synapse_cost (J t) i j)); [apply _|]. intros i Hi.
    apply (sum_filterlim units (fun j t => synapse_cost (J t) i j)); [apply _|]. intros j Hj.
    apply synapse_cost_right; assumption.
Qed.

(** The sum of what units receive less what they send, each weighted by z, is that of c_ij (z_i - z_j). *)
Lemma imbalance_pairing J z :
  (Σ k ∈ units, z k * unit_imbalance J k) = Σ i ∈ units, Σ j ∈ units, synapse_cost J i j * (z i - z j).
Proof.
  unfold unit_imbalance.
  rewrite (sum_ext units
    (fun k => z k * ((Σ j ∈ units, synapse_cost J k j) - Σ j ∈ units, synapse_cost J j k))
    (fun k => (Σ j ∈ units, z k * synapse_cost J k j) - Σ j ∈ units, z k * synapse_cost J j k)).
  2: { intros k _. rewrite (sum_scal units (z k) (fun j => synapse_cost J k j)),
    (sum_scal units (z k) (fun j => synapse_cost J j k)). ring. }
  rewrite sum_minus, (sum_swap units units (fun k j => z k * synapse_cost J j k)), <- sum_minus.
  apply sum_ext. intros i _. rewrite <- sum_minus. apply sum_ext. intros; ring.
Qed.

(** [S.conserved]: the rule keeps the sum of h over each weak component, here given by its indicator z: a
    vector that is equal at both ends of every synapse. *)
Theorem rule_keeps_scale_sums J (h : R -> U -> R) (z : U -> R) t : stock_rule J ->
  (forall k, In k units -> filterlim (fun t => h t k) (at_right 0) (locally (h 0 k)) /\
    forall t, 0 < t -> is_derive (fun s => h s k) t (unit_imbalance (J t) k / tau)) ->
  (forall i j, In i units -> In j units -> J 0 i j <> 0 -> z i = z j) -> 0 <= t ->
  (Σ k ∈ units, z k * h t k) = Σ k ∈ units, z k * h 0 k.
Proof.
  intros HJ Hh Hz Ht. apply (constant_from_zero (fun t => Σ k ∈ units, z k * h t k)); [| |exact Ht].
  - intros s Hs. destruct (rule_transforms J HJ) as (h' & _ & _ & Hr).
    assert (Z : (Σ k ∈ units, z k * unit_imbalance (J s) k) = 0).
    { rewrite imbalance_pairing. apply sum_zero. intros i Hi. apply sum_zero. intros j Hj.
      destruct (Req_dec (J 0 i j) 0) as [Z|N]; [|rewrite (Hz i j Hi Hj N); ring].
      unfold synapse_cost. rewrite (Hr s i j ltac:(lra) Hi Hj). unfold transformed.
      rewrite Z, Rmult_0_r, Rmult_0_l, apow_0. ring. }
    evar_last.
    + apply (sum_derive units (fun k s => z k * h s k) (fun k => z k * (unit_imbalance (J s) k / tau))).
      intros k Hk. apply (is_derive_scal (fun s => h s k)), Hh; assumption.
    + rewrite (sum_ext units _ (fun k => / tau * (z k * unit_imbalance (J s) k))) by (intros; unfold Rdiv; ring).
      rewrite sum_scal, Z. ring.
  - apply (sum_filterlim units (fun k t => z k * h t k)); [apply _|].
    intros k Hk. apply scal_filterlim; [apply _|]. apply Hh, Hk.
Qed.

(** |g|^2 falls at least at the rate 2 p gap / tau, if v^T L v is at least gap |v|^2 at all v = g(s). *)
Lemma imbalance_decays_form J gap t : stock_rule J -> 0 < tau ->
  (forall s, 0 <= s -> let v := unit_imbalance (J s) in
    gap * (Σ k ∈ units, v k ^ 2) <= Σ i ∈ units, Σ j ∈ units, synapse_cost (J s) i j * (v i - v j) ^ 2) -> 0 <= t ->
  (Σ k ∈ units, unit_imbalance (J t) k ^ 2)
  <= (Σ k ∈ units, unit_imbalance (J 0) k ^ 2) * exp (- (2 * p * gap * t / tau)).
Proof.
  intros HJ Htau Q Ht. cbv zeta in Q.
  set (rate := 2 * p * gap / tau).
  set (n := fun s => Σ k ∈ units, unit_imbalance (J s) k ^ 2).
  set (q := fun s => Σ i ∈ units, Σ j ∈ units,
    synapse_cost (J s) i j * (unit_imbalance (J s) i - unit_imbalance (J s) j) ^ 2).
  assert (Dn : forall s, 0 < s -> is_derive n s (- (2 * p / tau) * q s)).
  { intros s Hs. unfold n. set (g := unit_imbalance (J s)). evar_last.
    - apply (sum_derive units (fun k s => unit_imbalance (J s) k ^ 2)
        (fun i => 2 * g i * (- (p / tau) * Σ j ∈ units, (synapse_cost (J s) i j + synapse_cost (J s) j i) * (g i - g j)))).
      intros k Hk. evar_last.
      + apply (is_derive_comp (fun y => y ^ 2) (fun s => unit_imbalance (J s) k)).
        * auto_derive; [exact I|reflexivity].
        * apply unit_imbalance_derivative; assumption.
      + unfold scal; simpl; unfold mult; simpl. unfold g. ring.
    - unfold q. fold g.
      rewrite (sum_ext units _ (fun i => (- (2 * p / tau)) * ((Σ j ∈ units, synapse_cost (J s) i j * (g i - g j) * g i)
        + Σ j ∈ units, synapse_cost (J s) j i * (g i - g j) * g i))).
      + rewrite sum_scal. f_equal.
        rewrite sum_plus, (sum_swap units units (fun i j => synapse_cost (J s) j i * (g i - g j) * g i)), <- sum_plus.
        apply sum_ext. intros i _. rewrite <- sum_plus. apply sum_ext. intros j _. ring.
      + intros i _. rewrite <- sum_plus.
        rewrite (sum_ext units
          (fun j => synapse_cost (J s) i j * (g i - g j) * g i + synapse_cost (J s) j i * (g i - g j) * g i)
          (fun j => g i * ((synapse_cost (J s) i j + synapse_cost (J s) j i) * (g i - g j)))) by (intros; ring).
        rewrite sum_scal. unfold Rdiv. ring. }
  assert (F : n t * exp (rate * t) <= n 0 * exp (rate * 0)).
  { apply (nonincreasing (fun s => n s * exp (rate * s))
      (fun s => (- (2 * p / tau) * q s + rate * n s) * exp (rate * s))); [| |lra].
    - intros s Hs. split.
      + evar_last.
        * apply (is_derive_mult n (fun s => exp (rate * s))); [apply Dn, Hs| |intros; apply Rmult_comm].
          auto_derive; [exact I|reflexivity].
        * unfold plus, mult; simpl. ring.
      + pose proof (exp_pos (rate * s)). pose proof (Q s ltac:(lra)) as Qs.
        assert (0 <= 2 * p / tau) by (apply Rlt_le, Rdiv_lt_0_compat; lra).
        assert (- (2 * p / tau) * q s + rate * n s <= 0); [|nra].
        replace (rate * n s) with (2 * p / tau * (gap * n s)) by (unfold rate, Rdiv; ring).
        change (gap * n s <= q s) in Qs. nra.
    - apply mult_filterlim; [apply _| |].
      + apply (sum_filterlim units (fun k s => unit_imbalance (J s) k ^ 2)); [apply _|]. intros k Hk.
        apply (comp_filterlim (fun y => y ^ 2) (fun s => unit_imbalance (J s) k)).
        * eapply (filterlim_comp_2 (fun s => Σ j ∈ units, synapse_cost (J s) k j)
            (fun s => - Σ j ∈ units, synapse_cost (J s) j k) Rplus).
          -- apply (sum_filterlim units (fun j s => synapse_cost (J s) k j)); [apply _|].
             intros j Hj. apply synapse_cost_right; assumption.
          -- apply (comp_filterlim Ropp (fun s => Σ j ∈ units, synapse_cost (J s) j k)).
             ++ apply (sum_filterlim units (fun j s => synapse_cost (J s) j k)); [apply _|].
                intros j Hj. apply synapse_cost_right; assumption.
             ++ apply (ex_derive_continuous Ropp). auto_derive. exact I.
          -- apply (filterlim_plus (Σ j ∈ units, synapse_cost (J 0) k j) (- Σ j ∈ units, synapse_cost (J 0) j k)).
        * apply (ex_derive_continuous (fun y => y ^ 2)). auto_derive. exact I.
      + intros P HP. apply filter_le_within. revert P HP.
        apply (ex_derive_continuous (fun s => exp (rate * s)) 0). auto_derive. exact I. }
  fold (n t) (n 0). rewrite Rmult_0_r, exp_0, Rmult_1_r in F.
  replace (2 * p * gap * t / tau) with (rate * t) by (unfold rate, Rdiv; ring).
  rewrite exp_Ropp. pose proof (exp_pos (rate * t)). apply Rmult_le_reg_r with (exp (rate * t)); [assumption|].
  rewrite Rmult_assoc, Rinv_l, Rmult_1_r by lra. exact F.
Qed.

(** [S.convergence]: |g(t)| <= |g(0)| exp(- p m lam t / tau), with m a bound below on the costs of the synapses
    and lam one on the Laplacian of their pattern b + b^T, v^T L v = sum_ij b_ij (v_i - v_j)^2, over vectors v
    that are the imbalances of some matrix. Here for the squares of the norms. *)
Theorem imbalance_decays J m lam t : stock_rule J -> 0 < tau -> 0 <= m -> 0 <= lam ->
  (forall s i j, 0 <= s -> In i units -> In j units -> J 0 i j <> 0 -> m <= synapse_cost (J s) i j) ->
  (forall K, let v := unit_imbalance K in (forall i j, In i units -> In j units -> J 0 i j = 0 -> K i j = 0) ->
    lam * (Σ k ∈ units, v k ^ 2) <= Σ e ∈ synapses (J 0), (v (fst e) - v (snd e)) ^ 2) ->
  0 <= t ->
  (Σ k ∈ units, unit_imbalance (J t) k ^ 2)
  <= (Σ k ∈ units, unit_imbalance (J 0) k ^ 2) * exp (- (2 * p * m * lam * t / tau)).
Proof.
  intros HJ Htau Hm Hl Hc Hgap Ht. destruct (rule_transforms J HJ) as (h & _ & _ & Hr).
  assert (Z : forall s, 0 <= s -> forall i j, In i units -> In j units -> J 0 i j = 0 -> J s i j = 0).
  { intros s Hs i j Hi Hj Z. rewrite (Hr s i j Hs Hi Hj). unfold transformed. rewrite Z. ring. }
  replace (2 * p * m * lam * t / tau) with (2 * p * (m * lam) * t / tau) by (unfold Rdiv; ring).
  apply (imbalance_decays_form J (m * lam)); [exact HJ|exact Htau| |exact Ht].
  intros s Hs. cbv zeta. rewrite Rmult_assoc.
  apply Rle_trans with (m * Σ e ∈ synapses (J 0), (unit_imbalance (J s) (fst e) - unit_imbalance (J s) (snd e)) ^ 2).
  { apply Rmult_le_compat_l; [exact Hm|]. apply (Hgap (J s)), Z, Hs. }
  eapply Rle_trans; [|apply Req_le, (sum_entries (fun e => synapse_cost (J s) (fst e) (snd e)
    * (unit_imbalance (J s) (fst e) - unit_imbalance (J s) (snd e)) ^ 2))].
  rewrite <- (sum_synapses (J 0)).
  - rewrite <- sum_scal. apply sum_le. intros [i j] He. apply synapses_in in He as (Hi & Hj & N).
    apply Rmult_le_compat_r; [apply pow2_ge_0|]. apply (Hc s); assumption.
  - intros i j Hi Hj Z0. simpl. unfold synapse_cost. rewrite (Z s Hs i j Hi Hj Z0), apow_0. ring.
Qed.

(** [S.convergence]: a single synapse falls like c(t) = c(0) / (1 + 2 p c(0) t / tau), so its matrix tends to
    one that is balanced and has no synapse. *)
Theorem single_synapse J i j t : stock_rule J -> 0 < tau -> In i units -> In j units -> i <> j ->
  0 < alpha i j -> J 0 i j <> 0 ->
  (forall k l, In k units -> In l units -> J 0 k l <> 0 -> k = i /\ l = j) -> 0 <= t ->
  synapse_cost (J t) i j = synapse_cost (J 0) i j / (1 + 2 * p * synapse_cost (J 0) i j * t / tau).
Proof.
  intros HJ Htau Hi Hj Hij Ha Hnz Hone Ht. destruct (rule_transforms J HJ) as (h & _ & _ & Hr).
  assert (Z : forall s, 0 <= s -> forall k l, In k units -> In l units -> k <> i \/ l <> j ->
    synapse_cost (J s) k l = 0).
  { intros s Hs k l Hk Hl Hkl. unfold synapse_cost. rewrite (Hr s k l Hs Hk Hl). unfold transformed.
    destruct (Req_dec (J 0 k l) 0) as [->|N].
    - rewrite Rmult_0_r, Rmult_0_l. unfold apow. destruct (Req_EM_T 0 0); [ring|contradiction].
    - destruct (Hone k l Hk Hl N). tauto. }
  set (c := fun s => synapse_cost (J s) i j).
  assert (Pos : forall s, 0 <= s -> 0 < c s).
  { intros s Hs. apply Rmult_lt_0_compat; [exact Ha|]. apply apow_pos. rewrite (Hr s i j Hs Hi Hj).
    unfold transformed. apply Rmult_integral_contrapositive_currified; [|apply Rgt_not_eq, exp_pos].
    apply Rmult_integral_contrapositive_currified; [apply Rgt_not_eq, exp_pos|exact Hnz]. }
  assert (Gi : forall s, 0 <= s -> unit_imbalance (J s) i = c s).
  { intros s Hs. unfold unit_imbalance.
    rewrite (sum_ext units (fun l => synapse_cost (J s) i l) (fun l => if eq_dec l j then c s else 0)).
    - rewrite (sum_pick eq_dec units (fun _ => c s) j nodup Hj).
      rewrite sum_zero; [ring|]. intros l Hl. apply (Z s Hs); auto.
    - intros l Hl. destruct (eq_dec l j) as [->|Hl']; [reflexivity|]. apply (Z s Hs); auto. }
  assert (Gj : forall s, 0 <= s -> unit_imbalance (J s) j = - c s).
  { intros s Hs. unfold unit_imbalance.
    rewrite (sum_ext units (fun l => synapse_cost (J s) l j) (fun l => if eq_dec l i then c s else 0)).
    - rewrite (sum_pick eq_dec units (fun _ => c s) i nodup Hi).
      rewrite sum_zero; [ring|]. intros l Hl. apply (Z s Hs); auto.
    - intros l Hl. destruct (eq_dec l i) as [->|Hl']; [reflexivity|]. apply (Z s Hs); auto. }
  set (q := fun s => / c s - 2 * p / tau * s).
  assert (Dq : forall s, 0 < s -> is_derive q s 0).
  { intros s Hs. unfold q. pose proof (Pos s ltac:(lra)) as P. evar_last.
    - apply @is_derive_minus.
      + apply (is_derive_inv c s); [apply cost_derivative; assumption|lra].
      + apply (is_derive_scal (fun s => s)), @is_derive_id.
    - fold (c s). rewrite Gi, Gj by lra. unfold minus, plus, opp, one; simpl. field. lra. }
  assert (Rq : filterlim q (at_right 0) (locally (q 0))).
  { eapply (filterlim_comp_2 (fun s => / c s) (fun s => - (2 * p / tau * s)) Rplus).
    - apply (comp_filterlim (fun x => / (alpha i j * apow x p)) (fun s => J s i j)); [apply HJ; assumption|].
      apply (continuous_comp (fun x => alpha i j * apow x p) Rinv).
      + apply (continuous_scal_r (alpha i j) (fun x => apow x p)), apow_continuous, p_pos.
      + apply (ex_derive_continuous Rinv). pose proof (Pos 0 ltac:(lra)) as P. unfold c, synapse_cost in P.
        auto_derive. lra.
    - intros P HP. apply filter_le_within. revert P HP.
      apply (ex_derive_continuous (fun s => - (2 * p / tau * s)) 0). auto_derive. exact I.
    - apply (filterlim_plus (/ c 0) (- (2 * p / tau * 0))). }
  assert (Q : q t = q 0) by (apply constant_from_zero; assumption).
  unfold q in Q. fold (c t) (c 0). pose proof (Pos t Ht). pose proof (Pos 0 ltac:(lra)).
  assert (X : / c t = / c 0 + 2 * p * t / tau) by (unfold Rdiv in *; lra).
  rewrite <- (Rinv_inv (c t)), X.
  assert (0 <= p * t) by nra.
  assert (0 <= 2 * p * c 0 * t / tau).
  { apply Rmult_le_pos; [|apply Rlt_le, Rinv_0_lt_compat, Htau]. nra. }
  replace (/ c 0 + 2 * p * t / tau) with ((1 + 2 * p * c 0 * t / tau) / c 0) by (field; lra).
  set (d := 1 + 2 * p * c 0 * t / tau). assert (0 < d) by (unfold d; lra). clearbody d. field. split; lra.
Qed.

(** ** Convergence *)

(** Every synapse lies on a directed cycle. *)
Definition synapses_on_cycles (J : U -> U -> R) : Prop := every_edge_on_closed_walk (synapses J) pre post.

Definition same_zeros (J K : U -> U -> R) : Prop :=
  forall i j, In i units -> In j units -> (J i j = 0 <-> K i j = 0).

Lemma transformed_zero x J i j : J i j = 0 <-> transformed x J i j = 0.
Proof.
  unfold transformed. pose proof (exp_pos (- x i)). pose proof (exp_pos (x j)). split.
  - intros ->. ring.
  - intros Z. apply Rmult_integral in Z as [Z|Z]; [|lra]. apply Rmult_integral in Z as [Z|Z]; [lra|exact Z].
Qed.

Lemma synapses_same J K : same_zeros J K -> synapses J = synapses K.
Proof.
  intros H. apply filter_ext_in. intros [i j] He. apply entries_in in He as [Hi Hj].
  specialize (H i j Hi Hj). simpl. destruct (Req_EM_T (J i j) 0), (Req_EM_T (K i j) 0); tauto.
Qed.

Lemma transformed_entry x J e : In e all_pairs ->
  synapse (transformed x J) e = exp (log_scale units inc (fun k => - x k) e) * synapse J e.
Proof.
  intros He. rewrite entry_scale by exact He. unfold synapse, transformed.
  replace (- x (fst e) - - x (snd e)) with (- x (fst e) + x (snd e)) by ring. rewrite exp_plus. ring.
Qed.

Lemma in_entries J e : In e (synapses J) -> In e all_pairs.
Proof. apply (incl_filter _ all_pairs). Qed.

Hypothesis positive : forall i j, In i units -> In j units -> 0 < alpha i j.
Hypothesis tau_pos : 0 < tau.

Lemma rule_zeros J t : stock_rule J -> 0 <= t -> same_zeros (J 0) (J t).
Proof.
  intros HJ Ht i j Hi Hj. destruct (rule_transforms J HJ) as (h & _ & _ & Hr).
  rewrite (Hr t i j Ht Hi Hj). apply transformed_zero.
Qed.

Lemma rule_on_synapses J : stock_rule J ->
  local_rule (synapses (J 0)) units inc coefficient p tau (fun t => synapse (J t)).
Proof.
  intros HJ [i j] He. apply in_entries in He as He'. apply entries_in in He' as [Hi Hj].
  destruct (HJ i j Hi Hj) as [R0 D]. split; [exact R0|]. intros t Ht.
  evar_last; [apply (D t Ht)|]. rewrite entry_scale by (apply in_entries in He; exact He). simpl fst. simpl snd.
  assert (Z : forall i j, In i units -> In j units -> J 0 i j = 0 -> J t i j = 0).
  { intros i' j' Hi' Hj'. apply (rule_zeros J t HJ); [lra|exact Hi'|exact Hj']. }
  rewrite !(unit_imbalance_on_synapses (J 0) (J t)) by assumption. unfold synapse, Rdiv. simpl. ring.
Qed.

Lemma excess_of_transformed x J k : In k units ->
  excess (synapses J) inc coefficient p (fun e => exp (log_scale units inc (fun k => - x k) e) * synapse J e) k
  = unit_imbalance (transformed x J) k.
Proof.
  intros Hk. rewrite <- (unit_imbalance_on_synapses J (transformed x J))
    by (auto; intros; apply transformed_zero; assumption).
  apply sum_ext. intros e He. rewrite transformed_entry by (apply in_entries in He; exact He). reflexivity.
Qed.

(** [S.convergence]: if the transform of J(0) by x is balanced, J converges to it, and the gap of the cost is
    at most p tau |x|^2 / (2 t). *)
Theorem matrix_converges_to J x : stock_rule J -> matrix_balanced (transformed x (J 0)) ->
  (forall i j, In i units -> In j units -> is_lim (fun t => J t i j) p_infty (transformed x (J 0) i j)) /\
  is_lim (fun t => matrix_cost (J t)) p_infty (matrix_cost (transformed x (J 0))) /\
  (forall t, 0 <= t -> 2 * t * (matrix_cost (J t) - matrix_cost (transformed x (J 0)))
    <= p * tau * Σ k ∈ units, x k ^ 2).
Proof.
  intros HJ Hx.
  destruct (rule_converges (synapses (J 0)) units inc coefficient p tau p_pos (fun t => synapse (J t)) (fun k => - x k))
    as (L & LC & G).
  - exact tau_pos.
  - intros [i j] He. apply synapses_in in He as (Hi & Hj & Hz). split; [apply positive; assumption|exact Hz].
  - apply rule_on_synapses, HJ.
  - intros k Hk. rewrite excess_of_transformed by exact Hk. apply Hx, Hk.
  - assert (Cx : cost_sum (synapses (J 0)) coefficient p
        (fun e => exp (log_scale units inc (fun k => - x k) e) * synapse (J 0) e) = matrix_cost (transformed x (J 0))).
    { rewrite <- (cost_on_synapses (J 0)) by (intros; apply transformed_zero; assumption).
      apply sum_ext. intros e He. rewrite transformed_entry by (apply in_entries in He; exact He). reflexivity. }
    assert (Ct : forall t, 0 <= t -> cost_sum (synapses (J 0)) coefficient p (synapse (J t)) = matrix_cost (J t)).
    { intros t Ht. apply cost_on_synapses. intros i j Hi Hj. apply (rule_zeros J t HJ Ht); assumption. }
    split; [|split].
    + intros i j Hi Hj. destruct (Req_dec (J 0 i j) 0) as [Z|Z].
      * replace (transformed x (J 0) i j) with 0 by (symmetry; apply transformed_zero, Z).
        apply is_lim_ext_loc with (fun _ => 0); [|apply is_lim_const].
        exists 0. intros t Ht. symmetry. apply (rule_zeros J t HJ); [lra|assumption..].
      * assert (He : In (i, j) (synapses (J 0))) by (apply synapses_in; auto).
        specialize (L (i, j) He). rewrite <- transformed_entry in L by (apply in_entries in He; exact He). exact L.
    + rewrite Cx in LC. eapply is_lim_ext_loc; [|exact LC]. exists 0. intros t Ht. apply Ct. lra.
    + intros t Ht. rewrite <- Ct, <- Cx by exact Ht.
      rewrite (sum_ext units (fun k => x k ^ 2) (fun k => (- x k) ^ 2)) by (intros; ring). apply G, Ht.
Qed.

(** Where every synapse of J lies on a cycle, just one transform of J is balanced. *)
Theorem balanced_transform J : synapses_on_cycles J -> exists x, matrix_balanced (transformed x J) /\
  forall y, matrix_balanced (transformed y J) ->
    forall i j, In i units -> In j units -> transformed y J i j = transformed x J i j.
Proof.
  intros Hc.
  set (a := fun e => coefficient e * apow (synapse J e) p).
  assert (Ha : forall e, In e (synapses J) -> 0 < a e /\ 0 < p).
  { intros [i j] He. apply synapses_in in He as (Hi & Hj & Hz). split; [|exact p_pos].
    apply Rmult_lt_0_compat; [apply positive; assumption|apply apow_pos, Hz]. }
  pose proof (power_costs_convex (synapses J) a (fun _ => p) Ha) as convex.
  pose proof (power_costs_coercive (synapses J) a (fun _ => p) Ha) as coercive.
  assert (pair_dec : forall d e : U * U, {d = e} + {d <> e}) by (repeat decide equality).
  assert (B : forall x, balanced (synapses J) units inc (fun e => power_marginal (a e) p) (fun k => - x k)
    <-> matrix_balanced (transformed x J)).
  { intros x. assert (X : forall k, In k units ->
      imbalance (synapses J) units inc (fun e => power_marginal (a e) p) (fun k => - x k) k
      = p * unit_imbalance (transformed x J) k).
    { intros k Hk. rewrite <- excess_of_transformed by exact Hk. apply (excess_at (synapses J) units inc coefficient p).
      reflexivity. }
    split; intros H k Hk; specialize (H k Hk).
    - rewrite X in H by exact Hk. destruct (Rmult_integral _ _ H); lra.
    - rewrite X, H by exact Hk. ring. }
  destruct (balanced_exists eq_dec (synapses J) units inc _ _ nodup convex
    ltac:(intros; apply power_marginal_continuous) coercive
    (closed_walks_circulation eq_dec pair_dec (synapses J) units pre post (synapses_well_formed J) Hc)) as (h & Hh).
  assert (Hx : matrix_balanced (transformed (fun k => - h k) J)).
  { apply B. intros k Hk. rewrite <- (Hh k Hk). apply sum_ext. intros e _. do 2 f_equal.
    apply sum_ext. intros; ring. }
  exists (fun k => - h k). split; [exact Hx|]. intros y Hy i j Hi Hj. destruct (Req_dec (J i j) 0) as [Z|Z].
  - apply transformed_zero with (x := y) in Z as Z1. apply transformed_zero with (x := fun k => - h k) in Z as Z2.
    congruence.
  - assert (He : In (i, j) (synapses J)) by (apply synapses_in; auto).
    pose proof (transformed_entry y J (i, j) (in_entries _ _ He)) as E1.
    pose proof (transformed_entry (fun k => - h k) J (i, j) (in_entries _ _ He)) as E2.
    unfold synapse in E1, E2. simpl in E1, E2. rewrite E1, E2. do 2 f_equal.
    apply (balanced_unique (synapses J) units inc _ _ convex _ _ (proj2 (B y) Hy) (proj2 (B _) Hx) (i, j) He).
Qed.

(** A balanced matrix has all its synapses on cycles. *)
Theorem balanced_on_cycles K : matrix_balanced K -> synapses_on_cycles K.
Proof.
  intros HK e He.
  destruct (decide (exists l, walk (synapses K) pre post (post e) (pre e) l)) as [|No]; [assumption|exfalso].
  destruct (no_closed_walk_lowering eq_dec (synapses K) units pre post (synapses_well_formed K) e He No)
    as (d & Hd & Hlt).
  pose proof (existence_cases_exclusive (synapses K) units inc
    (fun e => coefficient e * apow (synapse K e) p) d) as X.
  rewrite X in Hlt; [lra| | |exact Hd|exact He].
  - intros [i j] He'. apply synapses_in in He' as (Hi & Hj & Hz).
    apply Rmult_lt_0_compat; [apply positive; assumption|apply apow_pos, Hz].
  - intros k Hk. pose proof (unit_imbalance_on_synapses K K k ltac:(auto) Hk) as G.
    unfold excess in G. rewrite G. apply HK, Hk.
Qed.

(** [S.convergence]: a solution converges to a balanced matrix with the same nonzero entries just if every
    synapse of J(0) lies on a directed cycle. *)
Theorem matrix_converges_iff J : stock_rule J ->
  (exists K, matrix_balanced K /\ same_zeros (J 0) K /\
    forall i j, In i units -> In j units -> is_lim (fun t => J t i j) p_infty (K i j))
  <-> synapses_on_cycles (J 0).
Proof.
  intros HJ. split.
  - intros (K & HK & HZ & _). unfold synapses_on_cycles. rewrite (synapses_same _ _ HZ).
    apply (balanced_on_cycles K HK).
  - intros Hc. destruct (balanced_transform (J 0) Hc) as (x & Hx & _).
    exists (transformed x (J 0)). split; [exact Hx|]. split; [intros i j _ _; apply transformed_zero|].
    apply (matrix_converges_to J x HJ Hx).
Qed.

End Matrix.

(** ** The hypotheses can be met

    Two units that excite each other, p = tau = 1: from 1/2 and 2 the rule tends to 1 and 1, and the solution
    is u and 1/u with u = (3 exp(4t) - 1) / (3 exp(4t) + 1), a shifted tanh(2t). *)

Definition course (t : R) : R := (3 * exp (4 * t) - 1) / (3 * exp (4 * t) + 1).

Definition two_synapses (t : R) (i j : bool) : R :=
  match i, j with true, false => course t | false, true => / course t | _, _ => 0 end.

Lemma exp_ge_1 t : 0 <= t -> 1 <= exp (4 * t).
Proof. intros Ht. rewrite <- exp_0. destruct (Req_dec t 0) as [->|]; [rewrite Rmult_0_r; lra|].
  apply Rlt_le, exp_increasing. lra. Qed.

Lemma course_pos t : 0 <= t -> 0 < course t.
Proof. intros Ht. pose proof (exp_ge_1 t Ht). apply Rdiv_lt_0_compat; lra. Qed.

Lemma apow_one x : 0 < x -> apow x 1 = x.
Proof.
  intros Hx. unfold apow. destruct (Req_EM_T x 0); [lra|]. rewrite Rabs_pos_eq by lra. apply Rpower_1, Hx.
Qed.

Notation both := [true; false].

Lemma two_synapses_imbalance K : 0 < K true false -> 0 < K false true -> K true true = 0 -> K false false = 0 ->
  unit_imbalance both (fun _ _ => 1) 1 K true = K true false - K false true /\
  unit_imbalance both (fun _ _ => 1) 1 K false = K false true - K true false.
Proof.
  intros H1 H2 H3 H4. unfold unit_imbalance, synapse_cost. simpl. rewrite H3, H4, !apow_0, !apow_one by assumption.
  split; ring.
Qed.

Fact two_synapses_solve : stock_rule both (fun _ _ => 1) 1 1 two_synapses.
Proof.
  assert (D : forall t, 0 <= t -> is_derive course t (2 - 2 * course t ^ 2)).
  { intros t Ht. pose proof (exp_ge_1 t Ht). unfold course. auto_derive; [lra|]. field. lra. }
  assert (D' : forall t, 0 <= t -> is_derive (fun s => / course s) t (2 - 2 * (/ course t) ^ 2)).
  { intros t Ht. pose proof (course_pos t Ht). evar_last; [apply (is_derive_inv course); [apply D, Ht|lra]|].
    field. lra. }
  intros i j _ _. split.
  - intros P HP. apply filter_le_within. revert P HP.
    apply (ex_derive_continuous (fun t => two_synapses t i j) 0).
    destruct i, j; simpl; [apply @ex_derive_const| | |apply @ex_derive_const].
    + eexists. apply D. lra.
    + eexists. apply D'. lra.
  - intros t Ht. pose proof (course_pos t ltac:(lra)) as P.
    destruct (two_synapses_imbalance (two_synapses t) P (Rinv_0_lt_compat _ P) eq_refl eq_refl) as [G1 G2].
    simpl in G1, G2. destruct i, j; simpl; rewrite ?G1, ?G2.
    + evar_last; [apply @is_derive_const|]. unfold zero; simpl. unfold Rdiv. ring.
    + match goal with |- is_derive _ _ ?r => replace r with (2 - 2 * course t ^ 2) by (field; lra) end.
      apply (is_derive_ext course); [reflexivity|apply D; lra].
    + match goal with |- is_derive _ _ ?r => replace r with (2 - 2 * (/ course t) ^ 2) by (field; lra) end.
      apply D'. lra.
    + evar_last; [apply @is_derive_const|]. unfold zero; simpl. unfold Rdiv. ring.
Qed.

Fact two_synapses_converge : two_synapses 0 true false = 1 / 2 /\
  is_lim (fun t => two_synapses t true false) p_infty 1.
Proof.
  assert (C0 : course 0 = 1 / 2) by (unfold course; rewrite Rmult_0_r, exp_0; field).
  split; [exact C0|].
  set (x := fun i : bool => if i then 0 else ln 2).
  assert (X : transformed x (two_synapses 0) true false = 1).
  { unfold transformed, x. simpl. rewrite C0, Ropp_0, exp_0, exp_ln by lra. field. }
  assert (X' : transformed x (two_synapses 0) false true = 1).
  { unfold transformed, x. simpl. rewrite C0, exp_0, exp_Ropp, exp_ln by lra. field. }
  destruct (matrix_converges_to Bool.bool_dec both (fun _ _ => 1) 1 1) with (J := two_synapses) (x := x) as (L & _).
  - repeat constructor; simpl; intuition congruence.
  - lra.
  - intros; lra.
  - lra.
  - exact two_synapses_solve.
  - destruct (two_synapses_imbalance (transformed x (two_synapses 0))) as [G1 G2]; try lra;
      try (unfold transformed; simpl; ring).
    intros i _. destruct i; rewrite ?G1, ?G2, X, X'; ring.
  - rewrite <- X. apply L; simpl; auto.
Qed.

Fact two_synapses_decay t : 0 <= t ->
  (Σ k ∈ both, unit_imbalance both (fun _ _ => 1) 1 (two_synapses t) k ^ 2)
  <= (Σ k ∈ both, unit_imbalance both (fun _ _ => 1) 1 (two_synapses 0) k ^ 2) * exp (- (4 * t)).
Proof.
  intros Ht. replace (4 * t) with (2 * 1 * (1 / 2) * 4 * t / 1) by field.
  apply (imbalance_decays Bool.bool_dec both (fun _ _ => 1) 1 1); try lra.
  - repeat constructor; simpl; intuition congruence.
  - exact two_synapses_solve.
  - intros s i j Hs _ _ N. pose proof (exp_ge_1 s Hs) as X. pose proof (course_pos s Hs) as P.
    assert (B : 1 / 2 <= course s <= 1).
    { unfold course. split.
      - apply Rmult_le_reg_r with (3 * exp (4 * s) + 1); [lra|]. field_simplify; lra.
      - apply Rmult_le_reg_r with (3 * exp (4 * s) + 1); [lra|]. field_simplify; lra. }
    unfold synapse_cost. destruct i, j; simpl in *; try lra.
    + rewrite apow_one by exact P. lra.
    + rewrite apow_one by (apply Rinv_0_lt_compat, P).
      assert (1 <= / course s) by (rewrite <- Rinv_1; apply Rinv_le_contravar; lra). lra.
  - intros K v _. assert (V : v false = - v true) by (unfold v, unit_imbalance; simpl; ring).
    pose proof (course_pos 0 ltac:(lra)) as P. pose proof (Rinv_0_lt_compat _ P).
    unfold synapses. simpl.
    repeat (destruct (Req_EM_T _ _); try lra). simpl. rewrite V. nra.
Qed.
