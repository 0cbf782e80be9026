(** * The certificate of the distance to the optimum *)

From Coq Require Import Arith.
From Balproof Require Import Sums Balance LinearAlgebra Convergence Graphs.

(** ** The box

    If no weight has two scales of one sign (units of degree c >= 0 never do), then a state whose imbalances
    are all >= 0, above one whose imbalances are all <= 0, has a balanced state between: balancing
    from above only ever descends, and stops before the lower one. *)

Section Box.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (units : list U) (A : E -> U -> R) (phi psi : E -> R -> R).

Definition opposite_signs : Prop :=
  forall e j k, In e edges -> In j units -> In k units -> j <> k -> A e j * A e k <= 0.

Hypothesis signs : opposite_signs.
Hypothesis convex : strictly_convex_costs edges phi psi.
Hypothesis smooth : forall e (t : R), In e edges -> continuous (psi e) t.

Notation scale := (log_scale units A).
Notation imb := (imbalance edges units A psi).

Lemma psi_le e s t : In e edges -> s <= t -> psi e s <= psi e t.
Proof.
  intros He H. destruct (Req_dec s t) as [->|]; [lra|]. apply Rlt_le, (convex e He). lra.
Qed.

(** Raising the other scales lowers the imbalance of k. *)
Lemma imbalance_comparison (h h' : U -> R) (k : U) : In k units ->
  (forall j, In j units -> h j <= h' j) -> h k = h' k -> imb h' k <= imb h k.
Proof.
  intros Hk Hle Heq. apply sum_le. intros e He.
  assert (S : 0 <= - (A e k * (scale h' e - scale h e))).
  { rewrite <- log_scale_minus. unfold log_scale. rewrite <- sum_scal, <- sum_opp.
    apply sum_nonneg. intros j Hj. destruct (eq_dec j k) as [->|Hne].
    - rewrite Heq. right. ring.
    - pose proof (signs e j k He Hj Hk Hne). pose proof (Hle j Hj).
      replace (- (A e k * (A e j * (h' j - h j)))) with (- (A e j * A e k) * (h' j - h j)) by ring.
      apply Rmult_le_pos; lra. }
  destruct (Rlt_dec 0 (A e k)) as [Hp|Hp].
  - apply Rmult_le_compat_l; [lra|]. apply psi_le; [exact He|].
    apply Rmult_le_reg_l with (A e k); [exact Hp|]. lra.
  - destruct (Req_dec (A e k) 0) as [->|Hz]; [lra|].
    assert (psi e (scale h e) <= psi e (scale h' e)).
    { apply psi_le; [exact He|]. apply Rmult_le_reg_l with (- A e k); lra. }
    apply Ropp_le_cancel. rewrite <- !Ropp_mult_distr_l_reverse.
    apply Rmult_le_compat_l; lra.
Qed.

Variables (low up : U -> R).
Hypothesis low_up : forall k, In k units -> low k <= up k.
Hypothesis imb_low : forall k, In k units -> imb low k <= 0.
Hypothesis imb_up : forall k, In k units -> 0 <= imb up k.

Definition between_and_above (x : U -> R) : Prop :=
  (forall k, In k units -> low k <= x k <= up k) /\ (forall k, In k units -> 0 <= imb x k).

Lemma descending_step (x : U -> R) (k : U) : In k units -> between_and_above x ->
  {x' | between_and_above x' /\ imb x' k = 0 /\ (forall j, In j units -> x' j <= x j)}.
Proof.
  intros Hk [Hx Hi].
  set (g := fun t => imb (put eq_dec x k t) k).
  assert (cont : continuity g).
  { intros t. apply continuity_pt_filterlim. unfold g, imbalance.
    apply (sum_continuous edges (fun e t => A e k * psi e (scale (put eq_dec x k t) e))). intros e He.
    apply (continuous_scal_r (A e k) (fun t => psi e (scale (put eq_dec x k t) e))).
    apply (continuous_comp (fun t => scale (put eq_dec x k t) e) (psi e)); [|apply smooth, He].
    apply (sum_continuous units (fun j t => A e j * put eq_dec x k t j)). intros j _.
    apply (continuous_scal_r (A e j) (fun t => put eq_dec x k t j)).
    unfold put. destruct (eq_dec j k); [apply continuous_id|apply continuous_const]. }
  assert (Hput : forall t j, put eq_dec x k t j = x j \/ j = k /\ put eq_dec x k t j = t).
  { intros t j. unfold put. destruct (eq_dec j k); auto. }
  destruct (Hx k Hk) as [Hx1 Hx2].
  assert (G1 : g (low k) <= 0).
  { apply Rle_trans with (imb low k); [|apply imb_low, Hk]. apply imbalance_comparison; [exact Hk| |].
    - intros j Hj. destruct (Hput (low k) j) as [->|[-> ->]]; [apply Hx, Hj|lra].
    - rewrite put_same. reflexivity. }
  assert (G2 : 0 <= g (x k)).
  { apply Rle_trans with (imb x k); [apply Hi, Hk|]. right. apply sum_ext. intros e _. do 2 f_equal.
    apply sum_ext. intros j _. destruct (Hput (x k) j) as [->|[-> ->]]; reflexivity. }
  destruct (IVT_gen g (low k) (x k) 0 cont) as (t & Ht & Hgt).
  { split; [eapply Rle_trans; [apply Rmin_l|exact G1]|eapply Rle_trans; [exact G2|apply Rmax_r]]. }
  rewrite Rmin_left, Rmax_right in Ht by exact Hx1.
  assert (Hle : forall j, In j units -> put eq_dec x k t j <= x j).
  { intros j _. destruct (Hput t j) as [->|[-> ->]]; lra. }
  exists (put eq_dec x k t). split; [split|split; [exact Hgt|exact Hle]].
  - intros j Hj. destruct (Hput t j) as [->|[-> ->]]; [apply Hx, Hj|lra].
  - intros j Hj. destruct (eq_dec j k) as [->|Hne]; [right; symmetry; exact Hgt|].
    apply Rle_trans with (imb x j); [apply Hi, Hj|]. apply imbalance_comparison; [exact Hj|exact Hle|].
    apply put_other, Hne.
Qed.

Theorem balanced_between :
  exists h, balanced edges units A psi h /\ forall k, In k units -> low k <= h k <= up k.
Proof.
  assert (Up : between_and_above up).
  { split; [|exact imb_up]. intros k Hk. pose proof (low_up k Hk). lra. }
  assert (Empty : units = [] \/ exists k0, In k0 units).
  { destruct units as [|k0 r]; [left; reflexivity|right; exists k0; left; reflexivity]. }
  destruct Empty as [Eu|[k0 _]].
  { exists up. split; intros k Hk; exfalso; rewrite Eu in Hk; destruct Hk. }
  (* one unit after the other, again and again, from above *)
  set (len := length units).
  assert (Hnth : forall n, (n < len)%nat -> In (nth n units k0) units) by (intros; apply nth_In; assumption).
  pose (run := fix run n : {x | between_and_above x} := match n with
    | O => exist _ up Up
    | S m => let x := run m in
        match le_lt_dec len (m mod len) with
        | left _ => x
        | right H => let s := descending_step (proj1_sig x) (nth (m mod len) units k0) (Hnth _ H) (proj2_sig x) in
            exist _ (proj1_sig s) (proj1 (proj2_sig s))
        end
    end).
  set (x := fun n => proj1_sig (run n)).
  assert (Hx : forall n, between_and_above (x n)) by (intros n; exact (proj2_sig (run n))).
  assert (Hstep : forall n k, In k units -> x (S n) k <= x n k).
  { intros n k Hk. unfold x. simpl. destruct (le_lt_dec len (n mod len)) as [|H]; [lra|].
    exact (proj2 (proj2 (proj2_sig (descending_step _ _ (Hnth _ H) (proj2_sig (run n))))) k Hk). }
  assert (Hbal : forall n k, In k units -> exists m, (n <= m)%nat /\ imb (x m) k = 0).
  { intros n k Hk. destruct (In_nth units k k0 Hk) as (i & Hi & Hik). fold len in Hi.
    assert (Hlen : len <> 0%nat) by lia.
    assert (Hmod : ((i + n * len) mod len = i)%nat).
    { rewrite Nat.mod_add by exact Hlen. apply Nat.mod_small, Hi. }
    exists (S (i + n * len)). split; [nia|]. unfold x. simpl.
    destruct (le_lt_dec len ((i + n * len) mod len)) as [C|H]; [rewrite Hmod in C; lia|].
    simpl. pose proof (proj1 (proj2 (proj2_sig
      (descending_step _ _ (Hnth _ H) (proj2_sig (run (i + n * len)%nat)))))) as B.
    assert (Ek : nth ((i + n * len) mod len) units k0 = k) by (rewrite Hmod; exact Hik).
    rewrite <- Ek. exact B. }
  set (h := fun k => real (Lim_seq (fun n => x n k))).
  assert (Hlim : forall k, In k units -> is_lim_seq (fun n => x n k) (h k)).
  { intros k Hk. apply Lim_seq_correct', (ex_finite_lim_seq_decr (fun n => x n k) (low k)).
    - intros n. apply Hstep, Hk.
    - intros n. apply (Hx n), Hk. }
  exists h. split.
  - intros k Hk.
    assert (L : is_lim_seq (fun n => imb (x n) k) (imb h k)).
    { apply sum_lim. intros e He. apply (is_lim_seq_scal_l _ (A e k) (psi e (scale h e))).
      apply is_lim_seq_continuous; [apply continuity_pt_filterlim, smooth, He|].
      apply sum_lim. intros j Hj. apply (is_lim_seq_scal_l _ (A e j) (h j)), Hlim, Hj. }
    apply is_lim_seq_spec in L.
    apply Rle_antisym; apply le_epsilon; intros eps Heps; destruct (L (mkposreal eps Heps)) as [N HN];
      destruct (Hbal N k Hk) as (m & Hm & Hz); specialize (HN m Hm); rewrite Hz in HN; simpl in HN;
      apply Rabs_lt_between in HN; lra.
  - intros k Hk. split.
    + apply (is_lim_seq_le (fun _ => low k) (fun n => x n k) (low k) (h k));
        [intros n; apply (Hx n), Hk|apply is_lim_seq_const|apply Hlim, Hk].
    + apply (is_lim_seq_le (fun n => x n k) (fun _ => up k) (h k) (up k));
        [intros n; apply (Hx n), Hk|apply Hlim, Hk|apply is_lim_seq_const].
Qed.

End Box.

(** The box as it is checked: a direction d, a radius s, and lower bounds m on the derivatives of the
    imbalances along d, such that s m exceeds the imbalances at the centre. Then a balanced state, hence
    the optimum, lies within s d of the centre. *)
Theorem box_certificate {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k})
    (edges : list E) (units : list U) (A : E -> U -> R) (phi psi dpsi : E -> R -> R)
    (h d m : U -> R) (s : R) :
  opposite_signs edges units A -> strictly_convex_costs edges phi psi ->
  (forall e t, In e edges -> is_derive (psi e) t (dpsi e t)) ->
  0 <= s -> (forall k, In k units -> 0 <= d k) ->
  (forall k t, In k units -> - s <= t <= s -> m k <= Σ e ∈ edges,
     A e k * (dpsi e (log_scale units A h e + t * log_scale units A d e) * log_scale units A d e)) ->
  (forall k, In k units -> Rabs (imbalance edges units A psi h k) <= s * m k) ->
  exists h', balanced edges units A psi h' /\ optimal edges units A phi h' /\
    forall k, In k units -> Rabs (h' k - h k) <= s * d k.
Proof.
  intros Hsig convex Hd Hs Hdpos Hm Hi.
  assert (Hsm : forall e (t : R), In e edges -> continuous (psi e) t).
  { intros e t He. apply (ex_derive_continuous (psi e)). eexists; apply Hd, He. }
  pose (g := fun k t => imbalance edges units A psi (fun j => h j + t * d j) k).
  assert (Dg : forall k t, is_derive (g k) t (Σ e ∈ edges,
     A e k * (dpsi e (log_scale units A h e + t * log_scale units A d e) * log_scale units A d e))).
  { intros k t. apply is_derive_ext with
      (fun t => Σ e ∈ edges, A e k * psi e (log_scale units A h e + t * log_scale units A d e)).
    { intros u. apply sum_ext. intros e _. rewrite log_scale_line. reflexivity. }
    apply (sum_derive edges (fun e t => A e k * psi e (log_scale units A h e + t * log_scale units A d e))).
    intros e He. apply (is_derive_scal (fun t => psi e (log_scale units A h e + t * log_scale units A d e))).
    evar_last; [apply (is_derive_comp (psi e) (fun t => log_scale units A h e + t * log_scale units A d e));
      [apply Hd, He|auto_derive; [exact I|reflexivity]]|].
    unfold scal; simpl; unfold mult; simpl. ring. }
  assert (Cg : forall k t, continuity_pt (g k) t).
  { intros k t. apply continuity_pt_filterlim, (ex_derive_continuous (g k)). eexists; apply Dg. }
  assert (G0 : forall k, g k 0 = imbalance edges units A psi h k).
  { intros k. apply sum_ext. intros e _. rewrite log_scale_line. do 2 f_equal. ring. }
  assert (Gup : forall k, In k units -> 0 <= g k s).
  { intros k Hk. destruct (MVT_gen (g k) 0 s (fun t => Σ e ∈ edges,
      A e k * (dpsi e (log_scale units A h e + t * log_scale units A d e) * log_scale units A d e)))
      as (c & Hc & H); [intros; apply Dg|intros; apply Cg|].
    rewrite Rmin_left, Rmax_right in Hc by exact Hs.
    pose proof (Hm k c Hk ltac:(lra)) as X. pose proof (Hi k Hk) as Y. apply Rabs_le_between in Y.
    rewrite G0 in H. apply Rmult_le_compat_l with (r := s) in X; [|exact Hs]. lra. }
  assert (Glow : forall k, In k units -> g k (- s) <= 0).
  { intros k Hk. destruct (MVT_gen (g k) (- s) 0 (fun t => Σ e ∈ edges,
      A e k * (dpsi e (log_scale units A h e + t * log_scale units A d e) * log_scale units A d e)))
      as (c & Hc & H); [intros; apply Dg|intros; apply Cg|].
    rewrite Rmin_left, Rmax_right in Hc by lra.
    pose proof (Hm k c Hk ltac:(lra)) as X. pose proof (Hi k Hk) as Y. apply Rabs_le_between in Y.
    rewrite G0 in H. apply Rmult_le_compat_l with (r := s) in X; [|exact Hs]. lra. }
  destruct (balanced_between eq_dec edges units A phi psi Hsig convex Hsm
    (fun j => h j + - s * d j) (fun j => h j + s * d j)) as (h' & Hb & Hin).
  - intros k Hk. pose proof (Rmult_le_pos _ _ Hs (Hdpos k Hk)). lra.
  - exact Glow.
  - exact Gup.
  - exists h'. split; [exact Hb|]. split; [apply (balanced_optimal edges units A phi psi convex h' Hb)|].
    intros k Hk. specialize (Hin k Hk). apply Rabs_le. lra.
Qed.

(** Graphs of units of degree one satisfy the condition on signs. *)
Lemma incidence_opposite_signs {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k})
    (edges : list E) (units : list U) (source target : E -> option U) :
  opposite_signs edges units (incidence eq_dec source target).
Proof.
  intros e j k _ _ _ Hjk. unfold incidence, at_unit.
  destruct (target e) as [t|], (source e) as [s|];
    repeat match goal with |- context [eq_dec ?x ?y] => destruct (eq_dec x y); try congruence end; lra.
Qed.
