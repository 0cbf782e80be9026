(** * The little linear algebra that convergence needs

    Vectors are functions on a list of weights; columns are named by units. *)

From Balproof Require Import Sums Balance.

Section Columns.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}).
Variables (edges : list E) (A : E -> U -> R).

Definition put (h : U -> R) (k : U) (x : R) (j : U) : R := if eq_dec j k then x else h j.

Lemma put_same h k x : put h k x k = x.
Proof. unfold put. destruct (eq_dec k k); [reflexivity|contradiction]. Qed.

Lemma put_other h k x j : j <> k -> put h k x j = h j.
Proof. unfold put. intros H. destruct (eq_dec j k); [contradiction|reflexivity]. Qed.

Lemma log_scale_put_out S h k x e : ~ In k S -> log_scale S A (put h k x) e = log_scale S A h e.
Proof.
  intros H. apply sum_ext. intros j Hj. rewrite put_other; [reflexivity|]. intros ->; contradiction.
Qed.

Lemma log_scale_cons S h k e : log_scale (k :: S) A h e = A e k * h k + log_scale S A h e.
Proof. reflexivity. Qed.

Lemma log_scale_put_cons S h k x e :
  ~ In k S -> log_scale (k :: S) A (put h k x) e = A e k * x + log_scale S A h e.
Proof. intros H. rewrite log_scale_cons, put_same, log_scale_put_out by assumption. reflexivity. Qed.

(** A vector is a combination of columns, or some functional vanishes on the columns but not on it. *)
Lemma span_or_functional (S : list U) : NoDup S -> forall v : E -> R,
  (exists c, forall e, In e edges -> log_scale S A c e = v e) \/
  (exists b, (forall k, In k S -> (Σ e ∈ edges, A e k * b e) = 0) /\ (Σ e ∈ edges, b e * v e) = 1).
Proof.
  induction S as [|s S IH]; intros Hn v.
  - destruct (Req_dec (Σ e ∈ edges, v e * v e) 0) as [Z|Z].
    + left. exists (fun _ => 0). intros e He. simpl.
      assert (v e * v e = 0).
      { apply (sum_eq_zero edges (fun e => v e * v e)); auto; [intros; apply Rle_0_sqr|lra]. }
      destruct (Rmult_integral _ _ H); auto.
    + right. exists (fun e => / (Σ e ∈ edges, v e * v e) * v e). split; [intros k []|].
      rewrite (sum_ext _ _ (fun e => / (Σ e ∈ edges, v e * v e) * (v e * v e))) by (intros; ring).
      rewrite sum_scal. field. exact Z.
  - apply NoDup_cons_iff in Hn as [Hs Hn]. specialize (IH Hn).
    destruct (IH (fun e => A e s)) as [[c Hc]|(b & Hb & Hb1)].
    + (* column s is a combination of the others *)
      destruct (IH v) as [[d Hd]|(b & Hb & Hb1)].
      * left. exists (put d s 0). intros e He. rewrite log_scale_put_cons, Hd by assumption. ring.
      * right. exists b. split; [|exact Hb1]. intros k [<-|Hk]; [|auto].
        rewrite (sum_ext _ _ (fun e => b e * log_scale S A c e)) by (intros; rewrite Hc by assumption; ring).
        rewrite adjoint. apply sum_zero. intros j Hj. rewrite Hb by assumption. ring.
    + (* b sees column s and no other *)
      set (bv := Σ e ∈ edges, b e * v e).
      destruct (IH (fun e => v e - bv * A e s)) as [[d Hd]|(b1 & Hb1' & Hb11)].
      * left. exists (put d s bv). intros e He. rewrite log_scale_put_cons, Hd by assumption. ring.
      * right. set (bs := Σ e ∈ edges, A e s * b1 e). exists (fun e => b1 e - bs * b e). split.
        -- intros k Hk.
           rewrite (sum_ext _ _ (fun e => A e k * b1 e - bs * (A e k * b e))) by (intros; ring).
           rewrite sum_minus, sum_scal. destruct Hk as [<-|Hk].
           ++ rewrite (sum_ext _ (fun e => A e s * b e) (fun e => b e * A e s)) by (intros; ring).
              rewrite Hb1. unfold bs. ring.
           ++ rewrite Hb1', Hb by assumption. ring.
        -- rewrite <- Hb11. symmetry.
           rewrite (sum_ext _ _ (fun e => b1 e * v e - bv * (A e s * b1 e))) by (intros; ring).
           rewrite (sum_ext _ (fun e => (b1 e - bs * b e) * v e) (fun e => b1 e * v e - bs * (b e * v e)))
             by (intros; ring).
           rewrite !sum_minus, !sum_scal. fold bv bs. ring.
Qed.

(** If all components of A^T y along the columns S are small, then so is <A^T y, d>, in proportion to the
    size of A d (not of d: columns may be dependent). *)
Lemma small_pairing (S : list U) : NoDup S -> exists C, 0 <= C /\ forall (y : E -> R) (d : U -> R) (delta : R),
  0 <= delta -> (forall k, In k S -> Rabs (Σ e ∈ edges, A e k * y e) <= delta) ->
  Rabs (Σ k ∈ S, (Σ e ∈ edges, A e k * y e) * d k)
  <= delta * (C * Σ e ∈ edges, Rabs (log_scale S A d e)).
Proof.
  induction S as [|s S IH]; intros Hn.
  - exists 0. split; [lra|]. intros y d delta Hd _. simpl. rewrite Rabs_R0. lra.
  - apply NoDup_cons_iff in Hn as [Hs Hn]. destruct (IH Hn) as (C & HC & B).
    destruct (span_or_functional S Hn (fun e => A e s)) as [[c Hc]|(b & Hb & Hb1)].
    + exists C. split; [exact HC|]. intros y d delta Hd Hy.
      set (g := fun k => Σ e ∈ edges, A e k * y e).
      assert (gs : g s = Σ k ∈ S, g k * c k).
      { unfold g. rewrite <- adjoint. apply sum_ext. intros e He. rewrite Hc by assumption. ring. }
      assert (E1 : (Σ k ∈ (s :: S), g k * d k) = Σ k ∈ S, g k * (c k * d s + d k)).
      { simpl. rewrite gs, <- sum_scal_r, <- sum_plus. apply sum_ext. intros; ring. }
      change (Rabs (Σ k ∈ (s :: S), g k * d k)
        <= delta * (C * Σ e ∈ edges, Rabs (log_scale (s :: S) A d e))).
      rewrite E1.
      rewrite (sum_ext edges _ (fun e => Rabs (log_scale S A (fun k => c k * d s + d k) e))).
      * apply B; [exact Hd|]. intros k Hk. apply Hy. right; exact Hk.
      * intros e He. f_equal. rewrite log_scale_cons, <- Hc by assumption. unfold log_scale.
        rewrite <- sum_scal_r, <- sum_plus. apply sum_ext. intros; ring.
    + set (Bm := Σ e ∈ edges, Rabs (b e)). set (a := Σ e ∈ edges, Rabs (A e s)).
      assert (HBm : 0 <= Bm) by (apply sum_nonneg; intros; apply Rabs_pos).
      assert (Ha : 0 <= a) by (apply sum_nonneg; intros; apply Rabs_pos).
      pose proof (Rmult_le_pos a Bm Ha HBm).
      exists (Bm + C * (1 + a * Bm)).
      split; [apply Rplus_le_le_0_compat; [exact HBm|apply Rmult_le_pos; lra]|]. intros y d delta Hd Hy.
      set (X := Σ e ∈ edges, Rabs (log_scale (s :: S) A d e)).
      assert (HX : 0 <= X) by (apply sum_nonneg; intros; apply Rabs_pos).
      assert (ds : Rabs (d s) <= Bm * X).
      { replace (d s) with (Σ e ∈ edges, b e * log_scale (s :: S) A d e).
        - eapply Rle_trans; [apply sum_abs|]. unfold Bm. rewrite <- sum_scal_r.
          apply sum_le. intros e He. rewrite Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|].
          apply (sum_term edges (fun e => Rabs (log_scale (s :: S) A d e))); auto.
          intros; apply Rabs_pos.
        - rewrite adjoint. simpl. rewrite (sum_zero S) by (intros k Hk; rewrite Hb by assumption; ring).
          rewrite (sum_ext edges _ (fun e => b e * A e s)) by (intros; ring). rewrite Hb1. ring. }
      assert (HS : (Σ e ∈ edges, Rabs (log_scale S A d e)) <= X + a * (Bm * X)).
      { apply Rle_trans with (Σ e ∈ edges, (Rabs (log_scale (s :: S) A d e) + Rabs (A e s) * (Bm * X))).
        - apply sum_le. intros e He. rewrite log_scale_cons.
          replace (log_scale S A d e) with (A e s * d s + log_scale S A d e + - (A e s * d s)) at 1 by ring.
          eapply Rle_trans; [apply Rabs_triang|]. apply Rplus_le_compat_l.
          rewrite Rabs_Ropp, Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|exact ds].
        - rewrite sum_plus, sum_scal_r. fold X a. lra. }
      simpl. eapply Rle_trans; [apply Rabs_triang|].
      rewrite Rabs_mult.
      pose proof (Hy s (or_introl eq_refl)) as Hys.
      pose proof (B y d delta Hd (fun k Hk => Hy k (or_intror Hk))) as HB.
      assert (Rabs (Σ e ∈ edges, A e s * y e) * Rabs (d s) <= delta * (Bm * X))
        by (apply Rmult_le_compat; auto using Rabs_pos).
      assert (delta * (C * Σ e ∈ edges, Rabs (log_scale S A d e)) <= delta * (C * (X + a * (Bm * X))))
        by (apply Rmult_le_compat_l; [exact Hd|apply Rmult_le_compat_l; assumption]).
      replace (delta * ((Bm + C * (1 + a * Bm)) * X))
        with (delta * (Bm * X) + delta * (C * (X + a * (Bm * X)))) by ring.
      lra.
Qed.

(** The image of A is closed. *)
Lemma closed_image (S : list U) (d : nat -> U -> R) (x : E -> R) : NoDup S ->
  (forall e, In e edges -> is_lim_seq (fun n => log_scale S A (d n) e) (x e)) ->
  exists c, forall e, In e edges -> log_scale S A c e = x e.
Proof.
  intros Hn Hlim. destruct (span_or_functional S Hn x) as [H|(b & Hb & Hb1)]; [exact H|exfalso].
  assert (L : is_lim_seq (fun n => Σ e ∈ edges, b e * log_scale S A (d n) e) (Σ e ∈ edges, b e * x e)).
  { apply sum_lim. intros e He. apply (is_lim_seq_scal_l _ (b e) (x e)), Hlim, He. }
  rewrite Hb1 in L.
  assert (Z : is_lim_seq (fun n => Σ e ∈ edges, b e * log_scale S A (d n) e) 0).
  { apply is_lim_seq_ext with (fun _ => 0); [|apply is_lim_seq_const].
    intros n. rewrite adjoint. symmetry. apply sum_zero. intros k Hk. rewrite Hb by assumption. ring. }
  apply is_lim_seq_unique in L. apply is_lim_seq_unique in Z. rewrite L in Z.
  injection Z. lra.
Qed.

End Columns.
