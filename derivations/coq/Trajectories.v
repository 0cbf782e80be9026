(** * One trajectory for each start

    Claim [S.trajectories], for locally integrable inputs: dx/dt = - x + J phi(x) + W u + b in its integral form.
    The input enters through its integral v from time 0, a continuous function: x - W v - b t is
    differentiable for t > 0, and x is continuous at 0 from the right. *)

From Balproof Require Import Sums Homogeneous Rescaling Flow Picard.

(** The integral of a locally integrable input is continuous. *)
Lemma integral_continuous (u : R -> R) : (forall t, ex_RInt u 0 t) -> forall t, continuous (fun t => RInt u 0 t) t.
Proof.
  intros H t. apply (continuous_RInt_1 u 0 t (fun t => RInt u 0 t)). apply filter_forall. intros s.
  apply (RInt_correct u), H.
Qed.

(** Positively homogeneous functions are Lipschitz. *)
Lemma homogeneous_lipschitz (f : R -> R) : positively_homogeneous f ->
  forall x y, Rabs (f x - f y) <= (Rabs (f 1) + Rabs (f (-1))) * Rabs (x - y).
Proof.
  intros Hf x y. rewrite (bilu_slopes f Hf x), (bilu_slopes f Hf y). unfold BiLU.
  set (p := f 1). set (q := f (-1)). clearbody p q.
  assert (P : forall z, Rabs (p * z) <= Rabs p * Rabs z /\ Rabs (q * z) <= Rabs q * Rabs z)
    by (intros z; rewrite !Rabs_mult; lra).
  pose proof (Rabs_pos p). pose proof (Rabs_pos q). pose proof (Rabs_pos (x - y)).
  assert (0 <= Rabs p * Rabs (x - y)) by (apply Rmult_le_pos; assumption).
  assert (0 <= Rabs q * Rabs (x - y)) by (apply Rmult_le_pos; assumption).
  rewrite Rmult_plus_distr_r.
  destruct (Rlt_dec x 0) as [Hx|Hx], (Rlt_dec y 0) as [Hy|Hy].
  - replace (- q * x - - q * y) with (q * - (x - y)) by ring.
    destruct (P (- (x - y))) as [_ Q]. rewrite Rabs_Ropp in Q. lra.
  - replace (- q * x - p * y) with (q * - x + p * - y) by ring. eapply Rle_trans; [apply Rabs_triang|].
    destruct (P (- x)) as [_ Q]. destruct (P (- y)) as [Q' _]. rewrite !Rabs_Ropp in *.
    rewrite (Rabs_left x), (Rabs_pos_eq y) in * by lra. rewrite (Rabs_left (x - y)) by lra. nra.
  - replace (p * x - - q * y) with (p * x + q * y) by ring. eapply Rle_trans; [apply Rabs_triang|].
    destruct (P x) as [Q _]. destruct (P y) as [_ Q'].
    rewrite (Rabs_left y), (Rabs_pos_eq x) in * by lra. rewrite (Rabs_pos_eq (x - y)) by lra. nra.
  - replace (p * x - p * y) with (p * (x - y)) by ring. destruct (P (x - y)) as [Q _]. lra.
Qed.

Section Solutions.
Context {U In O : Type}.
Variables (units : list U) (inputs : list In) (phi : U -> R -> R).
Hypothesis homogeneous : forall j, positively_homogeneous (phi j).

(** The integral of W u + b from 0 to t, with v the integral of u. *)
Definition driven (W : U -> In -> R) (b : U -> R) (v : In -> R -> R) i t : R :=
  (Σ m ∈ inputs, W i m * v m t) + b i * t.

Definition solution (J : U -> U -> R) W b v (x : U -> R -> R) : Prop := forall i, List.In i units ->
  filterlim (x i) (at_right 0) (locally (x i 0)) /\
  forall t, 0 < t -> is_derive (fun s => x i s - driven W b v i s) t (- x i t + Σ j ∈ units, J i j * phi j (x j t)).

(** For continuous inputs these are the solutions in the classical sense. *)
Lemma classical_solution J W b u x : trajectory U In units inputs phi J W b u x ->
  (forall m t, continuous (u m) t) -> solution J W b (fun m t => RInt (u m) 0 t) x.
Proof.
  intros Hx Hu i _. split.
  - intros P HP. apply filter_le_within. revert P HP. apply (ex_derive_continuous (x i)). eexists. apply Hx.
  - intros t _. evar_last.
    + apply (is_derive_minus (x i) (driven W b (fun m t => RInt (u m) 0 t) i)); [apply Hx|].
      apply (is_derive_plus (fun t => Σ m ∈ inputs, W i m * RInt (u m) 0 t) (fun t => b i * t)).
      * apply (sum_derive inputs (fun m t => W i m * RInt (u m) 0 t) (fun m => W i m * u m t)). intros m _.
        apply (is_derive_scal (fun t => RInt (u m) 0 t)).
        apply (is_derive_RInt (u m) (fun t => RInt (u m) 0 t) 0 t); [|apply Hu].
        apply filter_forall. intros s. apply (RInt_correct (u m)), (ex_RInt_continuous (u m)). intros; apply Hu.
      * apply (is_derive_scal (fun t => t)), @is_derive_id.
    + unfold minus, plus, opp, one; simpl. ring.
Qed.

Section Given.
Variables (J : U -> U -> R) (W : U -> In -> R) (b : U -> R) (v : In -> R -> R).
Hypothesis input : forall m t, List.In m inputs -> continuous (v m) t.

Let slope j := Rabs (phi j 1) + Rabs (phi j (-1)).
Let L := 1 + Σ i ∈ units, Σ j ∈ units, Rabs (J i j) * slope j.
Let field (t : R) (y : U -> R) (i : U) : R :=
  - (y i + driven W b v i t) + Σ j ∈ units, J i j * phi j (y j + driven W b v j t).

Lemma slope_pos j : 0 <= slope j.
Proof. unfold slope. pose proof (Rabs_pos (phi j 1)). pose proof (Rabs_pos (phi j (-1))). lra. Qed.

Lemma bound_pos : 0 <= L.
Proof.
  unfold L. assert (0 <= Σ i ∈ units, Σ j ∈ units, Rabs (J i j) * slope j); [|lra].
  apply sum_nonneg. intros i _. apply sum_nonneg. intros j _. apply Rmult_le_pos; [apply Rabs_pos|apply slope_pos].
Qed.

Lemma driven_continuous i t : continuous (driven W b v i) t.
Proof.
  apply (continuous_plus (fun t => Σ m ∈ inputs, W i m * v m t) (fun t => b i * t)).
  - apply (sum_continuous inputs (fun m t => W i m * v m t)). intros m Hm.
    apply (continuous_scal_r (W i m) (v m)), input, Hm.
  - apply (ex_derive_continuous (fun t => b i * t)). auto_derive. exact I.
Qed.

Lemma phi_continuous j x : continuous (phi j) x.
Proof.
  apply (filterlim_eps (phi j) (phi j x) (locally x) _). intros eps Heps.
  pose proof (slope_pos j) as Hs.
  exists (mkposreal (eps / (slope j + 1)) ltac:(apply Rdiv_lt_0_compat; lra)). intros y Hy.
  apply Rabs_lt_between' in Hy. simpl in Hy.
  assert (Hd : Rabs (y - x) < eps / (slope j + 1)) by (apply Rabs_def1; lra).
  eapply Rle_lt_trans; [apply homogeneous_lipschitz, homogeneous|]. fold (slope j).
  apply Rle_lt_trans with ((slope j + 1) * Rabs (y - x)).
  - apply Rmult_le_compat_r; [apply Rabs_pos|lra].
  - apply Rmult_lt_compat_l with (r := slope j + 1) in Hd; [|lra].
    replace ((slope j + 1) * (eps / (slope j + 1))) with eps in Hd by (field; lra). exact Hd.
Qed.

Lemma field_lipschitz : lipschitz units field L.
Proof.
  intros t y z i Hi. unfold field.
  replace (- (y i + driven W b v i t) + (Σ j ∈ units, J i j * phi j (y j + driven W b v j t))
    - (- (z i + driven W b v i t) + Σ j ∈ units, J i j * phi j (z j + driven W b v j t)))
    with (- (y i - z i) + Σ j ∈ units, J i j * (phi j (y j + driven W b v j t) - phi j (z j + driven W b v j t))).
  2: { rewrite (sum_ext units (fun j => J i j * (phi j (y j + driven W b v j t) - phi j (z j + driven W b v j t)))
         (fun j => J i j * phi j (y j + driven W b v j t) - J i j * phi j (z j + driven W b v j t))) by (intros; ring).
       rewrite sum_minus. ring. }
  assert (D : forall j, List.In j units -> Rabs (y j - z j) <= distance units y z).
  { intros j Hj. apply (sum_term units (fun k => Rabs (y k - z k))); [intros; apply Rabs_pos|exact Hj]. }
  eapply Rle_trans; [apply Rabs_triang|]. rewrite Rabs_Ropp. unfold L. rewrite Rmult_plus_distr_r, Rmult_1_l.
  apply Rplus_le_compat; [apply D, Hi|]. eapply Rle_trans; [apply sum_abs|].
  apply Rle_trans with ((Σ j ∈ units, Rabs (J i j) * slope j) * distance units y z).
  - rewrite <- sum_scal_r. apply sum_le. intros j Hj. rewrite Rabs_mult, Rmult_assoc.
    apply Rmult_le_compat_l; [apply Rabs_pos|]. eapply Rle_trans; [apply homogeneous_lipschitz, homogeneous|].
    replace (y j + driven W b v j t - (z j + driven W b v j t)) with (y j - z j) by ring.
    apply Rmult_le_compat_l; [apply slope_pos|apply D, Hj].
  - apply Rmult_le_compat_r; [apply distance_nonneg|].
    apply (sum_term units (fun i => Σ j ∈ units, Rabs (J i j) * slope j)); [|exact Hi].
    intros k _. apply sum_nonneg. intros j _. apply Rmult_le_pos; [apply Rabs_pos|apply slope_pos].
Qed.

Lemma field_continuous : continuous_field units field.
Proof.
  intros y Hy i t Hi.
  assert (C : forall j, List.In j units -> continuous (fun t => y t j + driven W b v j t) t).
  { intros j Hj. apply (continuous_plus (fun t => y t j) (driven W b v j)); [apply Hy, Hj|apply driven_continuous]. }
  apply (continuous_plus (fun t => - (y t i + driven W b v i t))
    (fun t => Σ j ∈ units, J i j * phi j (y t j + driven W b v j t))).
  - apply (continuous_opp (fun t => y t i + driven W b v i t)), C, Hi.
  - apply (sum_continuous units (fun j t => J i j * phi j (y t j + driven W b v j t))). intros j Hj.
    apply (continuous_scal_r (J i j) (fun t => phi j (y t j + driven W b v j t))).
    apply (continuous_comp (fun t => y t j + driven W b v j t) (phi j)); [apply C, Hj|apply phi_continuous].
Qed.

Lemma right_plus (f g : R -> R) t : continuous g t -> filterlim f (at_right t) (locally (f t)) ->
  filterlim (fun s => f s + g s) (at_right t) (locally (f t + g t)).
Proof.
  intros Hg Hf. eapply (filterlim_comp_2 f g Rplus); [exact Hf| |apply (filterlim_plus (f t) (g t))].
  intros P HP. apply filter_le_within. revert P HP. apply Hg.
Qed.

Lemma solution_solves x : solution J W b v x -> solves units field (fun t i => x i t - driven W b v i t).
Proof.
  intros Hx i Hi. destruct (Hx i Hi) as [R0 D]. split.
  - apply (right_plus (x i) (fun t => - driven W b v i t)); [|exact R0].
    apply (continuous_opp (driven W b v i)), driven_continuous.
  - intros t Ht. evar_last; [apply (D t Ht)|]. unfold field.
    replace (x i t - driven W b v i t + driven W b v i t) with (x i t) by ring. f_equal.
    apply sum_ext. intros j _. do 2 f_equal. ring.
Qed.

(** [S.trajectories]: there is one solution for each start, *)
Theorem one_solution (start : U -> R) : exists x, solution J W b v x /\ (forall i, x i 0 = start i) /\
  forall y, solution J W b v y -> (forall i, List.In i units -> y i 0 = start i) ->
    forall i t, List.In i units -> 0 <= t -> y i t = x i t.
Proof.
  destruct (solution_exists units field L bound_pos field_lipschitz field_continuous
    (fun i => start i - driven W b v i 0)) as (z & Hz & Z0).
  set (x := fun i t => z t i + driven W b v i t).
  assert (Hx : solution J W b v x).
  { intros i Hi. destruct (Hz i Hi) as [R0 D]. split.
    - apply (right_plus (fun t => z t i) (driven W b v i)); [apply driven_continuous|exact R0].
    - intros t Ht. apply is_derive_ext with (fun s => z s i); [|apply (D t Ht)].
      intros s. change (z s i = z s i + driven W b v i s - driven W b v i s). ring. }
  exists x. split; [exact Hx|]. split; [intros i; unfold x; rewrite Z0; ring|].
  intros y Hy Y0 i t Hi Ht.
  pose proof (solution_unique units field L bound_pos field_lipschitz _ _ (solution_solves y Hy) (solution_solves x Hx)) as Un.
  assert (E : y i t - driven W b v i t = x i t - driven W b v i t); [|lra].
  apply Un; [|exact Ht|exact Hi]. intros k Hk. cbv beta. rewrite (Y0 k Hk). unfold x. rewrite Z0. ring.
Qed.

End Given.

(** and the solution of the rescaled network from the rescaled start is the rescaled solution, so that each
    input gives the same output. *)
Theorem solutions_scale (h : U -> R) J W b v x : solution J W b v x ->
  solution (J' U h J) (W' U In h W) (b' U h b) v (x' U h x).
Proof.
  intros Hx i Hi. destruct (Hx i Hi) as [R0 D]. split.
  - apply (scal_filterlim (exp (- h i)) (x i)); [apply _|exact R0].
  - intros t Ht. apply is_derive_ext with (fun s => exp (- h i) * (x i s - driven W b v i s)).
    + intros s. unfold x', driven, W', b'. rewrite Rmult_minus_distr_l, Rmult_plus_distr_l, <- sum_scal. f_equal. f_equal.
      * apply sum_ext. intros; ring.
      * ring.
    + evar_last; [apply (is_derive_scal (fun s => x i s - driven W b v i s)), (D t Ht)|].
      rewrite Rmult_plus_distr_l, <- sum_scal. unfold x', J'. f_equal; [ring|].
      apply sum_ext. intros j _. rewrite homogeneous by apply exp_pos.
      transitivity (exp (- h i) * J i j * (exp (- h j) * exp (h j)) * phi j (x j t)); [|ring].
      rewrite <- exp_plus, Rplus_opp_l, exp_0. ring.
Qed.

Theorem outputs_kept (h : U -> R) J W b v (V : O -> U -> R) x y : (forall m t, List.In m inputs -> continuous (v m) t) ->
  solution J W b v x -> solution (J' U h J) (W' U In h W) (b' U h b) v y ->
  (forall i, List.In i units -> y i 0 = exp (- h i) * x i 0) ->
  forall o t, 0 <= t -> read_out U O units (V' U O h V) y o t = read_out U O units V x o t.
Proof.
  intros Hv Hx Hy H0 o t Ht.
  destruct (one_solution (J' U h J) (W' U In h W) (b' U h b) v Hv (fun i => exp (- h i) * x i 0)) as (z & _ & _ & Uz).
  rewrite <- (read_out_kept U O units h V x o t). apply sum_ext. intros i Hi. f_equal.
  rewrite (Uz y Hy H0 i t Hi Ht). symmetry. apply Uz; [apply solutions_scale, Hx|reflexivity|exact Hi|exact Ht].
Qed.

End Solutions.
