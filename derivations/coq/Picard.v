(** * Solutions of differential equations

    dx/dt = f(t, x) for t > 0 with x continuous at 0 from the right: where f is Lipschitz in x, each start has
    one solution. By Picard's iteration, in a norm with an exponential weight. *)

From Balproof Require Import Sums Homogeneous OptimalScale Balance Convergence Flow.

Section Picard.
Context {U : Type}.
Variables (units : list U) (f : R -> (U -> R) -> U -> R) (L : R).

Definition distance (y z : U -> R) : R := Σ k ∈ units, Rabs (y k - z k).

Definition curve (y : R -> U -> R) : Prop := forall k t, In k units -> continuous (fun s => y s k) t.

Definition lipschitz : Prop := forall t y z k, In k units -> Rabs (f t y k - f t z k) <= L * distance y z.

(** f is continuous along curves. *)
Definition continuous_field : Prop := forall y, curve y -> curve (fun t k => f t (y t) k).

Definition solves (x : R -> U -> R) : Prop := forall k, In k units ->
  filterlim (fun t => x t k) (at_right 0) (locally (x 0 k)) /\
  forall t, 0 < t -> is_derive (fun s => x s k) t (f t (x t) k).

Hypothesis L_pos : 0 <= L.
Hypothesis lip : lipschitz.

Let N := INR (length units).

Lemma N_pos : 0 <= N.
Proof. apply pos_INR. Qed.

Lemma distance_nonneg y z : 0 <= distance y z.
Proof. apply sum_nonneg. intros; apply Rabs_pos. Qed.

(** ** Uniqueness *)

(** By Gronwall: the squared distance grows at most at the rate 2 L N. *)
Theorem solution_unique x y : solves x -> solves y -> (forall k, In k units -> x 0 k = y 0 k) ->
  forall t k, 0 <= t -> In k units -> x t k = y t k.
Proof.
  intros Hx Hy H0 t k Ht Hk.
  set (D := fun t => Σ k ∈ units, (x t k - y t k) ^ 2). set (r := 2 * L * N).
  assert (DD : forall s, 0 < s ->
    is_derive D s (Σ k ∈ units, 2 * (x s k - y s k) * (f s (x s) k - f s (y s) k))).
  { intros s Hs. apply (sum_derive units (fun k s => (x s k - y s k) ^ 2)). intros j Hj. evar_last.
    - apply (is_derive_comp (fun z => z ^ 2) (fun s => x s j - y s j)).
      + auto_derive; [exact I|reflexivity].
      + apply (is_derive_minus (fun s => x s j) (fun s => y s j)); [apply Hx|apply Hy]; assumption.
    - unfold scal, minus, plus, opp; simpl; unfold mult; simpl. ring. }
  assert (B : forall s, (Σ k ∈ units, 2 * (x s k - y s k) * (f s (x s) k - f s (y s) k)) <= r * D s).
  { intros s. apply Rle_trans with (Σ k ∈ units, Σ j ∈ units, L * ((x s k - y s k) ^ 2 + (x s j - y s j) ^ 2)).
    - apply sum_le. intros i Hi.
      apply Rle_trans with (2 * Rabs (x s i - y s i) * (L * distance (x s) (y s))).
      + eapply Rle_trans; [apply Rle_abs|]. rewrite !Rabs_mult, (Rabs_pos_eq 2) by lra.
        apply Rmult_le_compat_l; [|apply lip, Hi]. pose proof (Rabs_pos (x s i - y s i)). lra.
      + unfold distance. rewrite <- !sum_scal. apply sum_le. intros j _.
        rewrite <- (pow2_abs (x s i - y s i)), <- (pow2_abs (x s j - y s j)).
        pose proof (pow2_ge_0 (Rabs (x s i - y s i) - Rabs (x s j - y s j))).
        pose proof (Rabs_pos (x s i - y s i)). pose proof (Rabs_pos (x s j - y s j)).
        replace (2 * Rabs (x s i - y s i) * (L * Rabs (x s j - y s j)))
          with (L * (2 * Rabs (x s i - y s i) * Rabs (x s j - y s j))) by ring.
        apply Rmult_le_compat_l; [exact L_pos|]. lra.
    - apply Req_le. unfold r, N, D.
      rewrite (sum_ext units _ (fun i => L * (INR (length units) * (x s i - y s i) ^ 2)
        + L * Σ j ∈ units, (x s j - y s j) ^ 2)).
      + rewrite sum_plus, !sum_scal, sum_const. ring.
      + intros i _. rewrite sum_scal, sum_plus, sum_const. ring. }
  assert (F : D t * exp (- r * t) <= D 0 * exp (- r * 0)).
  { apply (nonincreasing (fun s => D s * exp (- r * s)) (fun s =>
      ((Σ k ∈ units, 2 * (x s k - y s k) * (f s (x s) k - f s (y s) k)) - r * D s) * exp (- r * s))); [| |lra].
    - intros s Hs. split.
      + evar_last.
        * apply (is_derive_mult D (fun s => exp (- r * s))); [apply DD, Hs| |intros; apply Rmult_comm].
          auto_derive; [exact I|reflexivity].
        * unfold plus, mult; simpl. ring.
      + pose proof (exp_pos (- r * s)). specialize (B s). nra.
    - apply mult_filterlim; [apply _| |].
      + apply (sum_filterlim units (fun k t => (x t k - y t k) ^ 2)); [apply _|]. intros j Hj.
        apply (comp_filterlim (fun z => z ^ 2) (fun t => x t j - y t j)).
        * eapply (filterlim_comp_2 (fun t => x t j) (fun t => - y t j) Rplus).
          -- apply Hx, Hj.
          -- apply (comp_filterlim Ropp (fun t => y t j)); [apply Hy, Hj|].
             apply (ex_derive_continuous Ropp). auto_derive. exact I.
          -- apply (filterlim_plus (x 0 j) (- y 0 j)).
        * apply (ex_derive_continuous (fun z => z ^ 2)). auto_derive. exact I.
      + intros P HP. apply filter_le_within. revert P HP.
        apply (ex_derive_continuous (fun s => exp (- r * s)) 0). auto_derive. exact I. }
  assert (D0 : D 0 = 0) by (apply sum_zero; intros j Hj; rewrite H0 by exact Hj; ring).
  rewrite D0, Rmult_0_l in F. pose proof (exp_pos (- r * t)).
  assert (Dt : D t <= 0) by nra.
  assert (Z : (x t k - y t k) ^ 2 = 0).
  { apply (sum_eq_zero units (fun k => (x t k - y t k) ^ 2)); [intros; apply pow2_ge_0|exact Dt|exact Hk]. }
  destruct (Req_dec (x t k - y t k) 0) as [E|E]; [lra|]. pose proof (pow2_gt_0 _ E). lra.
Qed.

(** ** Existence *)

Hypothesis field_continuous : continuous_field.
Variable x0 : U -> R.

(** x0 plus the integral of f along y; constant before time 0. *)
Definition picard (y : R -> U -> R) (t : R) (k : U) : R := x0 k + RInt (fun s => f s (y s) k) 0 (Rmax 0 t).

Lemma integral_derive y k t : curve y -> In k units ->
  is_derive (fun t => RInt (fun s => f s (y s) k) 0 t) t (f t (y t) k).
Proof.
  intros Hy Hk. apply (is_derive_RInt (fun s => f s (y s) k) (fun t => RInt (fun s => f s (y s) k) 0 t) 0 t).
  - apply filter_forall. intros s. apply (RInt_correct (fun s => f s (y s) k)), (ex_RInt_continuous (fun s => f s (y s) k)).
    intros z _. apply (field_continuous y Hy k z Hk).
  - apply (field_continuous y Hy k t Hk).
Qed.

Lemma picard_before y t k : t <= 0 -> picard y t k = x0 k.
Proof.
  intros Ht. unfold picard. rewrite Rmax_left by exact Ht.
  rewrite (RInt_point 0 (fun s => f s (y s) k)). unfold zero; simpl. ring.
Qed.

Lemma picard_curve y : curve y -> curve (picard y).
Proof.
  intros Hy k t Hk. apply (continuous_plus (fun _ => x0 k)); [apply continuous_const|].
  assert (C : forall s, continuous (fun t => RInt (fun s => f s (y s) k) 0 t) s).
  { intros s. apply (ex_derive_continuous (fun t => RInt (fun s => f s (y s) k) 0 t)).
    eexists. apply integral_derive; assumption. }
  apply (continuous_from_zero (fun t => RInt (fun s => f s (y s) k) 0 t)); [|intros; apply C].
  intros P HP. apply filter_le_within. revert P HP. apply C.
Qed.

Lemma picard_derive y k t : curve y -> In k units -> 0 < t -> is_derive (fun s => picard y s k) t (f t (y t) k).
Proof.
  intros Hy Hk Ht. apply is_derive_ext_loc with (fun s => x0 k + RInt (fun s => f s (y s) k) 0 s).
  - exists (mkposreal t Ht). intros s Hs. apply Rabs_lt_between' in Hs. simpl in Hs. unfold picard.
    rewrite Rmax_right by lra. reflexivity.
  - evar_last; [apply (is_derive_plus (fun _ => x0 k)); [apply @is_derive_const|apply integral_derive; eassumption]|].
    unfold plus, zero; simpl. ring.
Qed.

(** What starts at 0 with a derivative of at most c lam exp(lam t) is at most c exp(lam t). *)
Lemma growth (u g : R -> R) (c lam T : R) : (forall t, continuous u t) -> u 0 = 0 ->
  (forall t, 0 < t <= T -> is_derive u t (g t)) -> 0 < lam -> 0 <= c ->
  (forall t, 0 <= t <= T -> Rabs (g t) <= c * lam * exp (lam * t)) ->
  forall t, 0 <= t <= T -> Rabs (u t) <= c * exp (lam * t).
Proof.
  intros Cu U0 Du Hlam Hc Bg t Ht. destruct (Req_dec t 0) as [->|Nt].
  { rewrite U0, Rabs_R0. apply Rmult_le_pos; [exact Hc|apply Rlt_le, exp_pos]. }
  assert (S : forall sign, Rabs sign = 1 -> sign * u t <= c * exp (lam * t)).
  { intros sign Hs.
    destruct (MVT_gen (fun s => sign * u s - c * exp (lam * s)) 0 t
      (fun s => sign * g s - c * (lam * exp (lam * s)))) as (x & Hx & M).
    - intros s Hs'. rewrite Rmin_left, Rmax_right in Hs' by lra.
      apply (is_derive_minus (fun s => sign * u s) (fun s => c * exp (lam * s))).
      + apply is_derive_scal, Du. lra.
      + apply (is_derive_scal (fun s => exp (lam * s))). auto_derive; [exact I|ring].
    - intros s _. apply continuity_pt_filterlim.
      apply (continuous_minus (fun s => sign * u s) (fun s => c * exp (lam * s))).
      + apply (continuous_scal_r sign u), Cu.
      + apply (ex_derive_continuous (fun s => c * exp (lam * s))). auto_derive. exact I.
    - rewrite Rmin_left, Rmax_right in Hx by lra. specialize (Bg x ltac:(lra)).
      assert (sign * g x <= c * lam * exp (lam * x)).
      { eapply Rle_trans; [apply Rle_abs|]. rewrite Rabs_mult, Hs, Rmult_1_l. exact Bg. }
      rewrite U0, Rmult_0_r, Rmult_0_r, exp_0 in M. nra. }
  pose proof (S 1 Rabs_R1) as S1. pose proof (S (- (1)) ltac:(rewrite Rabs_Ropp; apply Rabs_R1)) as S2.
  apply Rabs_le. lra.
Qed.

Fixpoint iterate (n : nat) : R -> U -> R :=
  match n with O => fun _ => x0 | S m => picard (iterate m) end.

Lemma iterate_curve n : curve (iterate n).
Proof. induction n as [|n IH]; [intros k t _; apply continuous_const|apply picard_curve, IH]. Qed.

Lemma iterate_before n t k : t <= 0 -> iterate n t k = x0 k.
Proof. intros Ht. destruct n; [reflexivity|apply picard_before, Ht]. Qed.

Let lam := 2 * (L * N) + 1.

Lemma lam_pos : 0 < lam.
Proof. unfold lam. pose proof (Rmult_le_pos _ _ L_pos N_pos). lra. Qed.

(** In the weighted norm each iteration halves the distance. *)
Lemma iterates_close T : 0 <= T -> exists c, 0 <= c /\ forall n t, 0 <= t <= T ->
  distance (iterate (S n) t) (iterate n t) <= c / 2 ^ n * exp (lam * t).
Proof.
  intros HT.
  assert (C0 : forall t, continuous (fun t => distance (iterate 1 t) (iterate 0 t)) t).
  { intros t. apply (sum_continuous units (fun k t => Rabs (iterate 1 t k - iterate 0 t k))). intros k Hk.
    apply (continuous_comp (fun t => iterate 1 t k - iterate 0 t k) Rabs); [|apply continuous_Rabs].
    apply (continuous_minus (fun t => iterate 1 t k) (fun t => iterate 0 t k)); apply iterate_curve, Hk. }
  destruct (continuity_ab_maj (fun t => distance (iterate 1 t) (iterate 0 t)) 0 T HT) as (m & Hm & _).
  { intros t _. apply continuity_pt_filterlim, C0. }
  set (c := distance (iterate 1 m) (iterate 0 m)) in *.
  assert (Hc : 0 <= c) by apply distance_nonneg.
  exists c. split; [exact Hc|]. induction n as [|n IH]; intros t Ht.
  - specialize (Hm t Ht). assert (1 <= exp (lam * t)).
    { rewrite <- exp_0. destruct (Req_dec t 0) as [->|]; [rewrite Rmult_0_r; lra|].
      apply Rlt_le, exp_increasing, Rmult_lt_0_compat; [apply lam_pos|lra]. }
    replace (c / 2 ^ 0) with c by (simpl; field). cbv beta in Hm. fold c in Hm. nra.
  - pose proof lam_pos as Hl. pose proof (exp_pos (lam * t)) as He.
    assert (P2 : 0 < 2 ^ n) by (apply pow_lt; lra).
    assert (Hq : 0 <= c / 2 ^ n) by (apply Rdiv_le_0_compat; assumption).
    set (q := c / 2 ^ n) in *.
    assert (Each : forall k, In k units ->
      Rabs (iterate (S (S n)) t k - iterate (S n) t k) <= L * q / lam * exp (lam * t)).
    { intros k Hk.
      apply (growth (fun t => iterate (S (S n)) t k - iterate (S n) t k)
        (fun t => f t (iterate (S n) t) k - f t (iterate n t) k) (L * q / lam) lam T); try assumption.
      - intros s. apply (continuous_minus (fun t => iterate (S (S n)) t k) (fun t => iterate (S n) t k));
          apply iterate_curve, Hk.
      - rewrite !iterate_before by lra. ring.
      - intros s Hs. apply (is_derive_minus (fun t => iterate (S (S n)) t k) (fun t => iterate (S n) t k));
          apply picard_derive; try apply iterate_curve; try assumption; lra.
      - apply Rdiv_le_0_compat; [apply Rmult_le_pos; assumption|exact Hl].
      - intros s Hs. eapply Rle_trans; [apply lip, Hk|].
        apply Rle_trans with (L * (q * exp (lam * s))); [apply Rmult_le_compat_l; [exact L_pos|apply IH, Hs]|].
        apply Req_le. field. lra. }
    apply Rle_trans with (N * (L * q / lam * exp (lam * t))).
    + unfold distance, N. rewrite <- sum_const. apply sum_le. exact Each.
    + replace (c / 2 ^ S n) with (q / 2) by (unfold q; simpl; field; lra).
      replace (N * (L * q / lam * exp (lam * t))) with ((L * N / lam) * (q * exp (lam * t))) by (field; lra).
      replace (q / 2 * exp (lam * t)) with (1 / 2 * (q * exp (lam * t))) by field.
      apply Rmult_le_compat_r; [apply Rmult_le_pos; lra|].
      apply Rmult_le_reg_r with lam; [exact Hl|]. replace (L * N / lam * lam) with (L * N) by (field; lra).
      unfold lam. lra.
Qed.

(** A sequence whose steps halve has a limit, with a bound on the rest. *)
Lemma halving_limit (a : nat -> R) K : 0 <= K -> (forall n, Rabs (a (S n) - a n) <= K / 2 ^ n) ->
  forall n, Rabs (a n - real (Lim_seq a)) <= 2 * K / 2 ^ n.
Proof.
  intros HK H.
  assert (P : forall n, 0 < 2 ^ n) by (intros n; apply pow_lt; lra).
  assert (T : forall n m, Rabs (a (n + m)%nat - a n) <= 2 * K / 2 ^ n).
  { intros n m. assert (X : Rabs (a (n + m)%nat - a n) <= 2 * K / 2 ^ n - 2 * K / 2 ^ (n + m)).
    { induction m as [|m IH].
      - rewrite Nat.add_0_r, Rminus_eq_0, Rabs_R0. lra.
      - rewrite Nat.add_succ_r. specialize (H (n + m)%nat).
        replace (a (S (n + m)) - a n) with ((a (S (n + m)) - a (n + m)%nat) + (a (n + m)%nat - a n)) by ring.
        eapply Rle_trans; [apply Rabs_triang|].
        replace (2 * K / 2 ^ S (n + m)) with (K / 2 ^ (n + m)) by (simpl; field; apply Rgt_not_eq, P).
        replace (2 * K / 2 ^ (n + m)) with (K / 2 ^ (n + m) + K / 2 ^ (n + m)) in IH
          by (field; apply Rgt_not_eq, P). lra. }
    assert (0 <= 2 * K / 2 ^ (n + m)) by (apply Rdiv_le_0_compat; [lra|apply P]). lra. }
  assert (Q : is_lim_seq (fun n => 2 * K * (/ 2) ^ n) 0).
  { replace (Finite 0) with (Finite (2 * K * 0)) by (f_equal; ring).
    apply (is_lim_seq_scal_l _ (2 * K) 0). apply is_lim_seq_geom. rewrite Rabs_pos_eq; lra. }
  assert (E : forall n, 2 * K * (/ 2) ^ n = 2 * K / 2 ^ n).
  { intros n. rewrite pow_inv. reflexivity. }
  assert (Ex : ex_finite_lim_seq a).
  { apply ex_lim_seq_cauchy_corr. intros [eps Heps]. simpl. apply is_lim_seq_spec in Q.
    destruct (Q (mkposreal (eps / 2) ltac:(lra))) as [M HM]. simpl in HM. exists M.
    assert (B : forall n, (M <= n)%nat -> Rabs (a n - a M) < eps / 2).
    { intros n Hn. replace n with (M + (n - M))%nat by lia. eapply Rle_lt_trans; [apply T|].
      rewrite <- E. specialize (HM M (le_n M)). rewrite Rminus_0_r in HM. apply Rabs_def2 in HM. lra. }
    intros n m Hn Hm. replace (a n - a m) with ((a n - a M) + - (a m - a M)) by ring.
    eapply Rle_lt_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. specialize (B n Hn) as B1. specialize (B m Hm). lra. }
  intros n. apply Lim_seq_correct' in Ex.
  assert (Li : is_lim_seq (fun m => Rabs (a n - a (m + n)%nat)) (Rabs (a n - real (Lim_seq a)))).
  { apply (is_lim_seq_abs _ (a n - real (Lim_seq a))). apply is_lim_seq_minus'; [apply is_lim_seq_const|].
    apply (is_lim_seq_incr_n a n), Ex. }
  apply (is_lim_seq_le _ (fun _ => 2 * K / 2 ^ n) _ _ ) with (2 := Li) (3 := is_lim_seq_const _).
  intros m. rewrite Rabs_minus_sym, Nat.add_comm. apply T.
Qed.

Definition limit (t : R) (k : U) : R := real (Lim_seq (fun n => iterate n t k)).

Lemma limit_before t k : t <= 0 -> limit t k = x0 k.
Proof.
  intros Ht. unfold limit. rewrite (Lim_seq_ext _ (fun _ => x0 k)) by (intros; apply iterate_before, Ht).
  rewrite Lim_seq_const. reflexivity.
Qed.

(** Up to each time the iterates converge uniformly. *)
Lemma iterates_uniform T : 0 <= T -> exists K, 0 <= K /\ forall n t k, t <= T -> In k units ->
  Rabs (iterate n t k - limit t k) <= K / 2 ^ n.
Proof.
  intros HT. destruct (iterates_close T HT) as (c & Hc & H).
  pose proof lam_pos as Hl. pose proof (exp_pos (lam * T)) as HeT.
  exists (2 * (c * exp (lam * T))). split; [apply Rmult_le_pos; [lra|apply Rmult_le_pos; lra]|].
  intros n t k Ht Hk.
  assert (P : forall n, 0 < 2 ^ n) by (intros m; apply pow_lt; lra).
  destruct (Rle_dec t 0) as [Hneg|Hpos].
  - rewrite iterate_before, limit_before, Rminus_eq_0, Rabs_R0 by exact Hneg.
    apply Rdiv_le_0_compat; [apply Rmult_le_pos; [lra|apply Rmult_le_pos; lra]|apply P].
  - apply (halving_limit (fun n => iterate n t k) (c * exp (lam * T))).
    + apply Rmult_le_pos; lra.
    + intros m. apply Rle_trans with (distance (iterate (S m) t) (iterate m t)).
      * apply (sum_term units (fun k => Rabs (iterate (S m) t k - iterate m t k))); [intros; apply Rabs_pos|exact Hk].
      * eapply Rle_trans; [apply H; lra|].
        replace (c * exp (lam * T) / 2 ^ m) with (c / 2 ^ m * exp (lam * T)) by (field; apply Rgt_not_eq, P).
        apply Rmult_le_compat_l; [apply Rdiv_le_0_compat; [exact Hc|apply P]|].
        assert (X : lam * t <= lam * T) by (apply Rmult_le_compat_l; lra).
        destruct X as [X|X]; [apply Rlt_le, exp_increasing, X|rewrite X; lra].
Qed.

Lemma small_power K eps : 0 <= K -> 0 < eps -> exists n, K / 2 ^ n < eps.
Proof.
  intros HK Heps.
  assert (Q : is_lim_seq (fun n => K * (/ 2) ^ n) 0).
  { replace (Finite 0) with (Finite (K * 0)) by (f_equal; ring).
    apply (is_lim_seq_scal_l _ K 0). apply is_lim_seq_geom. rewrite Rabs_pos_eq; lra. }
  apply is_lim_seq_spec in Q. destruct (Q (mkposreal eps Heps)) as [n Hn]. simpl in Hn. exists n.
  specialize (Hn n (le_n n)). rewrite Rminus_0_r in Hn. apply Rabs_def2 in Hn.
  rewrite pow_inv in Hn. apply Hn.
Qed.

Lemma limit_curve : curve limit.
Proof.
  intros k t Hk. set (T := Rmax 0 t + 1). assert (HT : 0 <= T /\ t + 1 <= T).
  { unfold T. pose proof (Rmax_l 0 t). pose proof (Rmax_r 0 t). lra. }
  destruct (iterates_uniform T (proj1 HT)) as (K & HK & H).
  apply (filterlim_eps (fun s => limit s k) (limit t k) (locally t) _). intros eps Heps.
  destruct (small_power K (eps / 3) HK ltac:(lra)) as [n Hn].
  pose proof (iterate_curve n k t Hk) as C.
  pose proof (proj1 (filterlim_eps (fun s => iterate n s k) (iterate n t k) (locally t) _) C (eps / 3) ltac:(lra)) as Near.
  assert (One : locally t (fun s => s <= T)).
  { exists (mkposreal 1 Rlt_0_1). intros s Hs. apply Rabs_lt_between' in Hs. simpl in Hs. lra. }
  generalize (filter_and _ _ Near One). apply filter_imp. intros s [A B].
  pose proof (H n s k B Hk) as H1. pose proof (H n t k ltac:(lra) Hk) as H2.
  replace (limit s k - limit t k) with (- (iterate n s k - limit s k) + ((iterate n s k - iterate n t k)
    + (iterate n t k - limit t k))) by ring.
  eapply Rle_lt_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp.
  pose proof (Rabs_triang (iterate n s k - iterate n t k) (iterate n t k - limit t k)). lra.
Qed.

Lemma limit_fixed t k : In k units -> limit t k = picard limit t k.
Proof.
  intros Hk. destruct (Rle_dec t 0) as [Hneg|Hpos]; [rewrite limit_before, picard_before by exact Hneg; reflexivity|].
  assert (HT : 0 <= t) by lra. destruct (iterates_uniform t HT) as (K & HK & H).
  pose proof lam_pos as Hl. pose proof (exp_pos (lam * t)) as He.
  assert (P : forall n, 0 < 2 ^ n) by (intros m; apply pow_lt; lra).
  assert (X : forall n, Rabs (iterate (S n) t k - picard limit t k) <= L * (N * (K / 2 ^ n)) / lam * exp (lam * t)).
  { intros n. assert (Hq : 0 <= K / 2 ^ n) by (apply Rdiv_le_0_compat; [exact HK|apply P]).
    assert (Hb : 0 <= L * (N * (K / 2 ^ n))).
    { apply Rmult_le_pos; [exact L_pos|apply Rmult_le_pos; [apply N_pos|exact Hq]]. }
    apply (growth (fun t => iterate (S n) t k - picard limit t k)
      (fun t => f t (iterate n t) k - f t (limit t) k) (L * (N * (K / 2 ^ n)) / lam) lam t); try assumption; try lra.
    - intros s. apply (continuous_minus (fun t => iterate (S n) t k) (fun t => picard limit t k)).
      + apply iterate_curve, Hk.
      + apply picard_curve; [apply limit_curve|exact Hk].
    - rewrite iterate_before, picard_before by lra. ring.
    - intros s Hs. apply (is_derive_minus (fun t => iterate (S n) t k) (fun t => picard limit t k)).
      + apply (picard_derive (iterate n)); [apply iterate_curve|exact Hk|lra].
      + apply picard_derive; [apply limit_curve|exact Hk|lra].
    - apply Rdiv_le_0_compat; assumption.
    - intros s Hs. eapply Rle_trans; [apply lip, Hk|].
      apply Rle_trans with (L * (N * (K / 2 ^ n))).
      + apply Rmult_le_compat_l; [exact L_pos|]. unfold distance, N. rewrite <- sum_const. apply sum_le.
        intros j Hj. apply H; [lra|exact Hj].
      + assert (1 <= exp (lam * s)).
        { rewrite <- exp_0. destruct (Req_dec s 0) as [->|]; [rewrite Rmult_0_r; lra|].
          apply Rlt_le, exp_increasing, Rmult_lt_0_compat; [exact Hl|lra]. }
        replace (L * (N * (K / 2 ^ n)) / lam * lam) with (L * (N * (K / 2 ^ n))) by (field; repeat split; try lra; apply Rgt_not_eq, P). nra. }
  apply Rminus_diag_uniq. destruct (Req_dec (limit t k - picard limit t k) 0) as [|NZ]; [assumption|exfalso].
  pose proof (Rabs_pos_lt _ NZ) as Pos.
  set (M := L * N / lam * exp (lam * t)).
  assert (HM : 0 <= M).
  { apply Rmult_le_pos; [|lra]. apply Rdiv_le_0_compat; [apply Rmult_le_pos; [exact L_pos|apply N_pos]|exact Hl]. }
  destruct (small_power ((M + 1) * K) (Rabs (limit t k - picard limit t k)) ltac:(apply Rmult_le_pos; lra) Pos) as [n Hn].
  specialize (X n). pose proof (H (S n) t k ltac:(lra) Hk) as H1.
  assert (Y : Rabs (limit t k - picard limit t k) <= K / 2 ^ S n + M * (K / 2 ^ n)).
  { replace (limit t k - picard limit t k)
      with (- (iterate (S n) t k - limit t k) + (iterate (S n) t k - picard limit t k)) by ring.
    eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. apply Rplus_le_compat; [exact H1|].
    eapply Rle_trans; [exact X|]. apply Req_le. unfold M. field. repeat split; try lra; apply Rgt_not_eq, P. }
  assert (Z : K / 2 ^ S n <= K / 2 ^ n).
  { assert (0 <= K / 2 ^ n) by (apply Rdiv_le_0_compat; [exact HK|apply P]).
    replace (K / 2 ^ S n) with (K / 2 ^ n / 2) by (simpl; field; apply Rgt_not_eq, P). lra. }
  replace ((M + 1) * K / 2 ^ n) with (K / 2 ^ n + M * (K / 2 ^ n)) in Hn by (field; apply Rgt_not_eq, P). lra.
Qed.

(** Picard and Lindelof, for all times. *)
Theorem solution_exists : exists x, solves x /\ forall k, x 0 k = x0 k.
Proof.
  exists limit. split; [|intros k; apply limit_before; lra].
  intros k Hk. split.
  - intros P HP. apply filter_le_within. revert P HP. apply (limit_curve k 0 Hk).
  - intros t Ht. apply is_derive_ext with (fun s => picard limit s k).
    + intros s. symmetry. apply limit_fixed, Hk.
    + apply picard_derive; [apply limit_curve|exact Hk|exact Ht].
Qed.

End Picard.
