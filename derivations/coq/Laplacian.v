(** * The least nonzero eigenvalue of a Laplacian

    L = A^T diag(c) A with c > 0, for any matrix A. On the image of A^T it is bounded below by its least nonzero
    eigenvalue, which exists unless that image is 0. Without compactness: at the best bound lam the form
    v^T (L - lam) v is degenerate on the image, for else it would be bounded below by more. *)

From Coq Require Import Classical_Prop.
From Balproof Require Import Sums Balance LinearAlgebra.

Section Laplacian.
Context {E U : Type} (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variables (edges : list E) (units : list U) (A : E -> U -> R) (c : E -> R).
Hypotheses (nodup : NoDup edges) (c_pos : forall e, In e edges -> 0 < c e).

Notation difference v e := (log_scale units A v e).

(** A^T y. *)
Definition spread (y : E -> R) (k : U) : R := Σ e ∈ edges, A e k * y e.

Definition laplacian (v : U -> R) (k : U) : R := Σ e ∈ edges, A e k * (c e * difference v e).

Definition dot (v w : U -> R) : R := Σ k ∈ units, v k * w k.

(** v^T L v. *)
Definition form (v : U -> R) : R := Σ e ∈ edges, c e * difference v e ^ 2.

Definition eigenpair (lam : R) (v : U -> R) : Prop :=
  (exists k, In k units /\ v k <> 0) /\ forall k, In k units -> laplacian v k = lam * v k.

Definition least_nonzero_eigenvalue (lam : R) : Prop :=
  lam <> 0 /\ (exists v, eigenpair lam v) /\ forall mu v, mu <> 0 -> eigenpair mu v -> lam <= mu.

Lemma dot_spread v y : dot v (spread y) = Σ e ∈ edges, y e * difference v e.
Proof. rewrite (adjoint edges units A y v). apply sum_ext. intros; unfold spread; ring. Qed.

Lemma laplacian_spread v k : laplacian v k = spread (fun e => c e * difference v e) k.
Proof. reflexivity. Qed.

Lemma dot_laplacian v w : dot v (laplacian w) = Σ e ∈ edges, c e * difference v e * difference w e.
Proof.
  transitivity (dot v (spread (fun e => c e * difference w e))); [reflexivity|].
  rewrite dot_spread. apply sum_ext. intros; ring.
Qed.

Lemma form_is v : form v = dot v (laplacian v).
Proof. rewrite dot_laplacian. apply sum_ext. intros; ring. Qed.

Lemma form_nonneg v : 0 <= form v.
Proof. apply sum_nonneg. intros e He. apply Rmult_le_pos; [apply Rlt_le, c_pos, He|apply pow2_ge_0]. Qed.

Lemma dot_nonneg v : 0 <= dot v v.
Proof. apply sum_nonneg. intros k _. apply Rle_0_sqr. Qed.

Lemma dot_zero v : dot v v <= 0 -> forall k, In k units -> v k = 0.
Proof.
  intros H k Hk. assert (Z : v k * v k = 0).
  { apply (sum_eq_zero units (fun k => v k * v k)); [intros; apply Rle_0_sqr|exact H|exact Hk]. }
  destruct (Rmult_integral _ _ Z); assumption.
Qed.

Lemma dot_pos v k : In k units -> v k <> 0 -> 0 < dot v v.
Proof.
  intros Hk N. destruct (dot_nonneg v) as [P|P]; [exact P|]. exfalso. apply N, (dot_zero v); [lra|exact Hk].
Qed.

Lemma dot_ext v v' w w' : (forall k, In k units -> v k = v' k) -> (forall k, In k units -> w k = w' k) ->
  dot v w = dot v' w'.
Proof. intros H H'. apply sum_ext. intros k Hk. rewrite H, H' by exact Hk. reflexivity. Qed.

Lemma difference_ext v w e : (forall k, In k units -> v k = w k) -> difference v e = difference w e.
Proof. intros H. apply sum_ext. intros k Hk. rewrite H by exact Hk. reflexivity. Qed.

Lemma form_ext v w : (forall k, In k units -> v k = w k) -> form v = form w.
Proof. intros H. apply sum_ext. intros e _. rewrite (difference_ext v w e H). reflexivity. Qed.

(** An eigenvector of a nonzero eigenvalue lies in the image of A^T. *)
Lemma eigenvector_spread mu v : mu <> 0 -> (forall k, In k units -> laplacian v k = mu * v k) ->
  exists y, forall k, In k units -> v k = spread y k.
Proof.
  intros Hmu H. exists (fun e => c e * difference v e / mu). intros k Hk.
  transitivity (/ mu * laplacian v k); [rewrite H by exact Hk; field; exact Hmu|].
  unfold laplacian, spread. rewrite <- sum_scal. apply sum_ext. intros; field. exact Hmu.
Qed.

(** ** The best bound is an eigenvalue *)

Definition bounds (lam : R) : Prop := forall y, lam * dot (spread y) (spread y) <= form (spread y).

Section Best.
Variable lam : R.
Hypothesis best : is_lub bounds lam.
Variables (y1 : E -> R) (k1 : U).
Hypotheses (k1_in : In k1 units) (y1_nonzero : spread y1 k1 <> 0).

Lemma best_bounds : bounds lam.
Proof.
  intros y. destruct (dot_nonneg (spread y)) as [P|P].
  - assert (X : lam <= form (spread y) / dot (spread y) (spread y)).
    { apply best. intros l Hl. specialize (Hl y). apply Rmult_le_reg_r with (dot (spread y) (spread y)); [exact P|].
      replace (form (spread y) / dot (spread y) (spread y) * dot (spread y) (spread y)) with (form (spread y))
        by (field; lra). exact Hl. }
    apply Rmult_le_compat_r with (r := dot (spread y) (spread y)) in X; [|lra].
    replace (form (spread y) / dot (spread y) (spread y) * dot (spread y) (spread y)) with (form (spread y)) in X
      by (field; lra). exact X.
  - rewrite <- P, Rmult_0_r. apply form_nonneg.
Qed.

(** (L - lam) v *)
Definition residual (v : U -> R) (k : U) : R := laplacian v k - lam * v k.

Lemma residual_spread y k : residual (spread y) k = spread (fun e => c e * difference (spread y) e - lam * y e) k.
Proof.
  unfold residual, laplacian, spread. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring.
Qed.

Lemma residual_symmetric v w : dot v (residual w) = dot (residual v) w.
Proof.
  assert (X : forall v w, dot v (residual w) = dot v (laplacian w) - lam * dot v w).
  { intros v' w'. unfold dot, residual. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring. }
  transitivity (dot w (residual v)); [|apply sum_ext; intros; ring].
  rewrite !X, !dot_laplacian. f_equal; [apply sum_ext; intros; ring|]. f_equal. apply sum_ext. intros; ring.
Qed.

Lemma residual_nonneg y : 0 <= dot (spread y) (residual (spread y)).
Proof.
  replace (dot (spread y) (residual (spread y))) with (form (spread y) - lam * dot (spread y) (spread y)).
  - pose proof (best_bounds y). lra.
  - rewrite form_is. unfold dot, residual. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring.
Qed.

(** <A_e, (L - lam) A_f> *)
Let G (e f : E) : R := dot (A e) (residual (A f)).

Lemma G_left b f : (Σ e ∈ edges, b e * G e f) = dot (spread b) (residual (A f)).
Proof.
  unfold G, dot, spread.
  rewrite (sum_ext edges _ (fun e => Σ k ∈ units, b e * (A e k * residual (A f) k)))
    by (intros; rewrite sum_scal; reflexivity).
  rewrite sum_swap. apply sum_ext. intros k _. rewrite <- sum_scal_r. apply sum_ext. intros; ring.
Qed.

Lemma G_right e y : (Σ f ∈ edges, G e f * y f) = dot (A e) (residual (spread y)).
Proof.
  rewrite (residual_symmetric (A e) (spread y)). unfold dot at 1, spread.
  rewrite (sum_ext units _ (fun k => Σ f ∈ edges, residual (A e) k * (A f k * y f)))
    by (intros; rewrite sum_scal; reflexivity).
  rewrite sum_swap. apply sum_ext. intros f _. unfold G. rewrite (residual_symmetric (A e) (A f)).
  unfold dot. rewrite <- sum_scal_r. apply sum_ext. intros; ring.
Qed.

Theorem best_eigenvalue : lam > 0 /\ exists y, eigenpair lam (spread y).
Proof.
  assert (L0 : 0 <= lam) by (apply best; intros y; rewrite Rmult_0_l; apply form_nonneg).
  destruct (classic (exists y, eigenpair lam (spread y))) as [[y Hy]|No].
  { split; [|exists y; exact Hy]. destruct L0 as [P|P]; [exact P|exfalso].
    destruct Hy as [(k & Hk & N) H].
    assert (F0 : form (spread y) = 0).
    { rewrite form_is. apply sum_zero. intros j Hj. rewrite H by exact Hj. rewrite <- P. ring. }
    assert (D0 : forall e, In e edges -> difference (spread y) e = 0).
    { intros e He. assert (Z : c e * difference (spread y) e ^ 2 = 0).
      { apply (sum_eq_zero edges (fun e => c e * difference (spread y) e ^ 2)); [|unfold form in F0; lra|exact He].
        intros e' He'. apply Rmult_le_pos; [apply Rlt_le, c_pos, He'|apply pow2_ge_0]. }
      specialize (c_pos e He). destruct (Rmult_integral _ _ Z) as [Z'|Z']; [lra|].
      destruct (Req_dec (difference (spread y) e) 0) as [|N']; [assumption|]. pose proof (pow2_gt_0 _ N'). lra. }
    apply N, (dot_zero (spread y)); [|exact Hk]. rewrite dot_spread. apply Req_le, sum_zero.
    intros e He. rewrite D0 by exact He. ring. }
  exfalso.
  (* each coordinate is represented by the form on the image *)
  assert (Rep : forall k, In k units -> exists z, forall y, spread y k = dot (spread y) (residual (spread z))).
  { intros k Hk. destruct (span_or_functional edge_dec edges G edges nodup (fun e => A e k)) as [[z Hz]|(b & Hb & Hb1)].
    - exists z. intros y. transitivity (Σ e ∈ edges, y e * log_scale edges G z e).
      + apply sum_ext. intros e He. rewrite Hz by exact He. ring.
      + transitivity (Σ e ∈ edges, y e * dot (A e) (residual (spread z))).
        * apply sum_ext. intros e _. f_equal. apply G_right.
        * unfold dot, spread at 2.
          rewrite (sum_ext edges _ (fun e => Σ k ∈ units, y e * (A e k * residual (spread z) k)))
            by (intros; rewrite sum_scal; reflexivity).
          rewrite sum_swap. apply sum_ext. intros j _. rewrite <- sum_scal_r. apply sum_ext. intros; ring.
    - exfalso. apply No. exists b.
      assert (K : spread b k = 1) by (rewrite <- Hb1; apply sum_ext; intros; ring).
      split; [exists k; split; [exact Hk|lra]|].
      assert (O : forall f, In f edges -> dot (residual (spread b)) (A f) = 0).
      { intros f Hf. rewrite <- residual_symmetric, <- G_left, <- (Hb f Hf). apply sum_ext. intros; ring. }
      assert (R0 : forall j, In j units -> residual (spread b) j = 0).
      { apply dot_zero. rewrite (dot_ext (residual (spread b)) (residual (spread b)) (residual (spread b))
          (spread (fun e => c e * difference (spread b) e - lam * b e))); [|reflexivity|intros; apply residual_spread].
        rewrite dot_spread. apply Req_le, sum_zero. intros f Hf. rewrite Rmult_comm.
        replace (difference (residual (spread b)) f) with (dot (residual (spread b)) (A f)); [rewrite (O f Hf); ring|].
        apply sum_ext. intros; ring. }
      intros j Hj. specialize (R0 j Hj). unfold residual in R0. lra. }
  (* so the form is bounded below by more *)
  assert (B : exists C, 0 < C /\ forall k, In k units -> forall y,
    spread y k ^ 2 <= C * dot (spread y) (residual (spread y))).
  { apply (list_bound units (fun k C => forall y, spread y k ^ 2 <= C * dot (spread y) (residual (spread y)))).
    - intros k C C' H HC y. eapply Rle_trans; [apply H|]. apply Rmult_le_compat_r; [apply residual_nonneg|exact HC].
    - intros k Hk. destruct (Rep k Hk) as [z Hz]. set (C := dot (spread z) (residual (spread z)) + 1).
      assert (HC : 0 < C) by (unfold C; pose proof (residual_nonneg z); lra).
      exists C. intros y. rewrite (Hz y).
      set (a := dot (spread y) (residual (spread y))). set (b := dot (spread y) (residual (spread z))).
      (* the form at y - (b / C) z *)
      pose proof (residual_nonneg (fun e => y e - b / C * z e)) as P.
      assert (S : forall j, spread (fun e => y e - b / C * z e) j = spread y j - b / C * spread z j).
      { intros j. unfold spread. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring. }
      assert (Rs : forall j, residual (spread (fun e => y e - b / C * z e)) j
        = residual (spread y) j - b / C * residual (spread z) j).
      { intros j. rewrite !residual_spread. unfold spread. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros e _.
        rewrite (difference_ext (fun k => Σ e ∈ edges, A e k * (y e - b / C * z e))
          (fun k => spread y k + - (b / C) * spread z k) e).
        - rewrite log_scale_line. unfold spread. ring.
        - intros i _. transitivity (spread y i - b / C * spread z i); [apply S|ring]. }
      assert (Ex : dot (spread (fun e => y e - b / C * z e)) (residual (spread (fun e => y e - b / C * z e)))
        = a - 2 * (b / C) * b + (b / C) ^ 2 * (C - 1)).
      { rewrite (dot_ext _ (fun j => spread y j - b / C * spread z j) _
          (fun j => residual (spread y) j - b / C * residual (spread z) j)) by (intros; auto).
        replace (C - 1) with (dot (spread z) (residual (spread z))) by (unfold C; ring).
        assert (b' : dot (spread z) (residual (spread y)) = b).
        { rewrite residual_symmetric. unfold b. apply sum_ext. intros; ring. }
        generalize (b / C). intros t.
        transitivity (a - t * dot (spread z) (residual (spread y)) - t * b
          + t ^ 2 * dot (spread z) (residual (spread z))); [|rewrite b'; ring].
        unfold a, b, dot. rewrite <- !sum_scal, <- !sum_minus, <- sum_plus. apply sum_ext. intros; ring. }
      rewrite Ex in P. assert (Y : a - 2 * (b / C) * b + (b / C) ^ 2 * (C - 1) <= a - b ^ 2 / C).
      { replace (a - b ^ 2 / C) with (a - 2 * (b / C) * b + (b / C) ^ 2 * C) by (field; lra).
        pose proof (pow2_ge_0 (b / C)). nra. }
      assert (Z : b ^ 2 / C <= a) by lra. apply Rmult_le_compat_l with (r := C) in Z; [|lra].
      replace (C * (b ^ 2 / C)) with (b ^ 2) in Z by (field; lra). exact Z. }
  destruct B as (C & HC & B). set (n := INR (length units) + 1).
  assert (Hn : 0 < n) by (unfold n; pose proof (pos_INR (length units)); lra).
  assert (More : bounds (lam + / (n * C))).
  { intros y. assert (S : dot (spread y) (spread y) <= n * (C * dot (spread y) (residual (spread y)))).
    { apply Rle_trans with (INR (length units) * (C * dot (spread y) (residual (spread y)))).
      - rewrite <- sum_const. apply sum_le. intros k Hk. eapply Rle_trans; [|apply (B k Hk y)]. apply Req_le. ring.
      - apply Rmult_le_compat_r; [|unfold n; lra]. apply Rmult_le_pos; [lra|apply residual_nonneg]. }
    assert (Eq : dot (spread y) (residual (spread y)) = form (spread y) - lam * dot (spread y) (spread y)).
    { rewrite form_is. unfold dot, residual. rewrite <- sum_scal, <- sum_minus. apply sum_ext. intros; ring. }
    rewrite Eq in S. set (d := dot (spread y) (spread y)) in *. set (F := form (spread y)) in *.
    assert (/ (n * C) * d <= F - lam * d); [|lra].
    apply Rmult_le_reg_l with (n * C); [apply Rmult_lt_0_compat; assumption|].
    rewrite <- Rmult_assoc, Rinv_r, Rmult_1_l by (apply Rgt_not_eq, Rmult_lt_0_compat; assumption). lra. }
  apply best in More. assert (0 < / (n * C)) by (apply Rinv_0_lt_compat, Rmult_lt_0_compat; assumption). lra.
Qed.

End Best.

(** Unless the image of A^T is 0, there is a least nonzero eigenvalue; it is positive, and a bound on the
    image of A^T. *)
Theorem least_eigenvalue_exists :
  (forall y k, In k units -> spread y k = 0) \/ exists lam, 0 < lam /\ least_nonzero_eigenvalue lam /\ bounds lam.
Proof.
  destruct (classic (exists y k, In k units /\ spread y k <> 0)) as [(y1 & k1 & Hk & N)|No].
  - right. pose proof (dot_pos (spread y1) k1 Hk N) as P.
    destruct (completeness bounds) as [lam Hlam].
    + exists (form (spread y1) / dot (spread y1) (spread y1)). intros l Hl. specialize (Hl y1).
      apply Rmult_le_reg_r with (dot (spread y1) (spread y1)); [exact P|].
      replace (form (spread y1) / dot (spread y1) (spread y1) * dot (spread y1) (spread y1)) with (form (spread y1))
        by (field; lra). exact Hl.
    + exists 0. intros y. rewrite Rmult_0_l. apply form_nonneg.
    + destruct (best_eigenvalue lam Hlam) as (Pos & y & Hy). exists lam.
      pose proof (best_bounds lam Hlam) as Bd. split; [exact Pos|]. split; [|exact Bd].
      split; [lra|]. split; [exists (spread y); exact Hy|]. intros mu v Hmu [(k & Hk' & N') H].
      destruct (eigenvector_spread mu v Hmu H) as [z Hz]. specialize (Bd z).
      rewrite <- (dot_ext v (spread z) v (spread z) Hz Hz), <- (form_ext v (spread z) Hz), form_is in Bd.
      rewrite (dot_ext v v (laplacian v) (fun k => mu * v k)) in Bd by (auto; reflexivity).
      assert (Q : dot v (fun k => mu * v k) = mu * dot v v).
      { unfold dot. rewrite <- sum_scal. apply sum_ext. intros; ring. }
      rewrite Q in Bd. pose proof (dot_pos v k Hk' N'). apply Rmult_le_reg_r with (dot v v); assumption.
  - left. intros y k Hk. destruct (Req_dec (spread y k) 0) as [|N]; [assumption|]. exfalso. apply No. exists y, k. auto.
Qed.

(** So the least nonzero eigenvalue is such a bound. *)
Corollary least_eigenvalue_bounds lam : least_nonzero_eigenvalue lam -> 0 < lam /\ bounds lam.
Proof.
  intros (N & (v & Hv) & Least). destruct least_eigenvalue_exists as [Z|(mu & Pos & (_ & (w & Hw) & Least') & Bd)].
  - exfalso. destruct Hv as [(k & Hk & Nk) H]. destruct (eigenvector_spread lam v N H) as [y Hy].
    apply Nk. rewrite (Hy k Hk). apply Z, Hk.
  - assert (Same : lam = mu).
    { apply Rle_antisym; [apply (Least mu w); [lra|exact Hw]|apply (Least' lam v); assumption]. }
    rewrite Same. auto.
Qed.

End Laplacian.
