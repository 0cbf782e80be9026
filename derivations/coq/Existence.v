(** * When the optimum is attained

    Claim [B.existence], for any matrix A, and for all costs that are continuous, bounded below, and increase
    strictly and without bound; they need not be convex. Farkas' lemma is proved by Bartl's induction on the
    number of rows; Stiemke's alternative is its sum over the rows. *)

From Balproof Require Import Sums Balance LinearAlgebra Convergence Graphs.

(** ** Farkas and Stiemke *)

Section Stiemke.
Context {E U : Type} (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variable units : list U.

(** A vector b is a combination of rows with coefficients y >= 0, or some d has (A d)_e <= 0 on all rows and
    <b, d> > 0. *)
Lemma farkas (rows : list E) : NoDup rows -> forall (A : E -> U -> R) (b : U -> R),
  (exists y : E -> R, (forall e, 0 <= y e) /\ forall k, In k units -> (Σ e ∈ rows, A e k * y e) = b k) \/
  (exists d : U -> R, (forall e, In e rows -> log_scale units A d e <= 0) /\ 0 < Σ k ∈ units, b k * d k).
Proof.
  induction rows as [|r rows IH]; intros Hn A b.
  - destruct (Exists_dec (fun k => b k <> 0) units) as [X|X].
    { intros k. destruct (Req_EM_T (b k) 0); [right|left]; auto. }
    + right. apply Exists_exists in X as (k & Hk & Hbk). exists b. split; [intros e []|].
      apply sum_pos with k; [intros; apply Rle_0_sqr|exact Hk|].
      assert (0 < b k * b k) by nra. assumption.
    + left. exists (fun _ => 0). split; [intros; lra|]. intros k Hk. simpl.
      destruct (Req_dec (b k) 0) as [->|C]; [reflexivity|]. exfalso. apply X, Exists_exists. exists k; auto.
  - apply NoDup_cons_iff in Hn as [Hr Hn].
    (* the first rows alone *)
    destruct (IH Hn A b) as [(y & Hy & Hk)|(d & Hd & Hb)].
    + left. exists (fun e => if edge_dec e r then 0 else y e). split.
      * intros e. destruct (edge_dec e r); [lra|apply Hy].
      * intros k Hkk. simpl. destruct (edge_dec r r) as [_|C]; [|contradiction].
        rewrite <- (Hk k Hkk), Rmult_0_r, Rplus_0_l. apply sum_ext. intros e He.
        destruct (edge_dec e r) as [->|_]; [contradiction|reflexivity].
    + destruct (Rle_dec (log_scale units A d r) 0) as [Hdr|Hdr].
      { right. exists d. split; [|exact Hb]. intros e [<-|He]; [exact Hdr|apply Hd, He]. }
      (* d serves all rows but r: make it so that row r sees 1, and project along it *)
      set (g := log_scale units A d r) in *. assert (Hg : 0 < g) by lra.
      set (d1 := fun k => / g * d k).
      assert (Scale : forall e, log_scale units A d1 e = / g * log_scale units A d e).
      { intros e. unfold log_scale, d1. rewrite <- sum_scal. apply sum_ext. intros; ring. }
      set (beta := Σ k ∈ units, b k * d1 k).
      assert (Hbeta : 0 < beta).
      { unfold beta, d1. rewrite (sum_ext units _ (fun k => / g * (b k * d k))) by (intros; ring).
        rewrite sum_scal. apply Rmult_lt_0_compat; [apply Rinv_0_lt_compat|]; assumption. }
      set (A' := fun e k => A e k - A r k * log_scale units A d1 e).
      destruct (IH Hn A' (fun k => b k - A r k * beta)) as [(y & Hy & Hk)|(x & Hx & Hbx)].
      * left. set (c := beta - Σ e ∈ rows, y e * log_scale units A d1 e).
        exists (fun e => if edge_dec e r then c else y e). split.
        -- intros e. destruct (edge_dec e r); [|apply Hy].
           assert (0 <= Σ e ∈ rows, - (y e * log_scale units A d1 e)).
           { apply sum_nonneg. intros e' He'. rewrite Scale. pose proof (Hd e' He'). pose proof (Hy e').
             pose proof (Rinv_0_lt_compat g Hg).
             assert (0 <= / g * - log_scale units A d e') by (apply Rmult_le_pos; lra). nra. }
           rewrite sum_opp in *. unfold c. lra.
        -- intros k Hkk. simpl. destruct (edge_dec r r) as [_|C]; [|contradiction].
           rewrite (sum_ext rows _ (fun e => A' e k * y e + A r k * (y e * log_scale units A d1 e))).
           ++ rewrite sum_plus, sum_scal, (Hk k Hkk). unfold c. ring.
           ++ intros e He. destruct (edge_dec e r) as [->|_]; [contradiction|]. unfold A'. ring.
      * right. set (xr := log_scale units A x r). exists (fun k => x k + - xr * d1 k). split.
        -- intros e He. rewrite log_scale_line. destruct He as [<-|He].
           ++ rewrite Scale. fold xr g. right. field. lra.
           ++ specialize (Hx e He). unfold log_scale, A' in Hx.
              rewrite (sum_ext units _ (fun k => A e k * x k - log_scale units A d1 e * (A r k * x k))) in Hx
                by (intros; ring).
              rewrite sum_minus, sum_scal in Hx. fold (log_scale units A x e) (log_scale units A x r) in Hx.
              fold xr in Hx. lra.
        -- rewrite (sum_ext units _ (fun k => b k * x k - beta * (A r k * x k))) in Hbx by (intros; ring).
           rewrite sum_minus, sum_scal in Hbx. fold (log_scale units A x r) in Hbx. fold xr in Hbx.
           rewrite (sum_ext units _ (fun k => b k * x k - xr * (b k * d1 k))) by (intros; ring).
           rewrite sum_minus, sum_scal. fold beta. lra.
Qed.

(** Some d raises no weight and lowers one. *)
Definition lowering (edges : list E) (A : E -> U -> R) (d : U -> R) : Prop :=
  (forall e, In e edges -> log_scale units A d e <= 0) /\ exists e, In e edges /\ log_scale units A d e < 0.

(** Stiemke's theorem of the alternative: exactly one of the two holds. *)
Theorem stiemke (edges : list E) (A : E -> U -> R) : NoDup edges ->
  (circulation edges units A \/ exists d, lowering edges A d) /\
  ~ (circulation edges units A /\ exists d, lowering edges A d).
Proof.
  intros Hn. split.
  - destruct (decide (exists d, lowering edges A d)) as [D|D]; [right; exact D|left].
    assert (X : forall L, incl L edges -> exists z : E -> R, (forall e, 0 <= z e) /\ (forall e, In e L -> 0 < z e)
      /\ forall k, In k units -> (Σ e ∈ edges, A e k * z e) = 0).
    { induction L as [|r L IH]; intros HL.
      - exists (fun _ => 0). split; [intros; lra|]. split; [intros e []|].
        intros k _. apply sum_zero. intros; ring.
      - destruct IH as (z & Hz0 & Hz & Hzk); [intros e He; apply HL; right; exact He|].
        assert (Hr : In r edges) by (apply HL; left; reflexivity).
        destruct (farkas edges Hn A (fun k => - A r k)) as [(y & Hy & Hyk)|(d & Hd & Hb)].
        + exists (fun e => z e + (y e + (if edge_dec e r then 1 else 0))). split; [|split].
          * intros e. specialize (Hz0 e). specialize (Hy e). destruct (edge_dec e r); lra.
          * intros e He. specialize (Hz0 e). specialize (Hy e). destruct (edge_dec e r); [lra|].
            destruct He as [->|He]; [contradiction|]. specialize (Hz e He). lra.
          * intros k Hk.
            rewrite (sum_ext edges _ (fun e => A e k * z e
              + (A e k * y e + (if edge_dec e r then A e k else 0)))).
            -- rewrite !sum_plus, Hzk, Hyk, (sum_pick edge_dec edges (fun e => A e k) r Hn Hr) by exact Hk. ring.
            -- intros e _. destruct (edge_dec e r); ring.
        + exfalso. apply D. exists d. split; [exact Hd|]. exists r. split; [exact Hr|].
          rewrite (sum_ext units _ (fun k => - (A r k * d k))) in Hb by (intros; ring).
          rewrite sum_opp in Hb. unfold log_scale. lra. }
    destruct (X edges (incl_refl _)) as (z & _ & Hz & Hk). exists z. auto.
  - intros [(z & Hz & Hk) (d & Hd & e & He & Hlt)].
    rewrite (existence_cases_exclusive edges units A z d Hz Hk Hd e He) in Hlt. lra.
Qed.

End Stiemke.

(** ** Bounded sets that shrink have a point that all of them come near *)

Lemma near_all {E : Type} (edges : list E) (M : R) : forall P : nat -> (E -> R) -> Prop,
  (forall n m v, (n <= m)%nat -> P m v -> P n v) -> (forall n, exists v, P n v) ->
  (forall n v e, P n v -> In e edges -> Rabs (v e) <= M) ->
  exists x : E -> R, forall eps n, 0 < eps -> exists v, P n v /\ forall e, In e edges -> Rabs (v e - x e) <= eps.
Proof.
  induction edges as [|e0 L IH]; intros P mono some bound.
  - exists (fun _ => 0). intros eps n _. destruct (some n) as [v Hv]. exists v. split; [exact Hv|intros e []].
  - (* the largest value that component e0 comes near again and again *)
    destruct (completeness (fun y => exists n, forall v, P n v -> v e0 <= - y)) as (m & Hup & Hleast).
    { exists M. intros y (n & Hn). destruct (some n) as [v Hv].
      pose proof (bound n v e0 Hv (or_introl eq_refl)) as B. apply Rabs_le_between in B.
      specialize (Hn v Hv). lra. }
    { exists (- M), 0%nat. intros v Hv.
      pose proof (bound _ v e0 Hv (or_introl eq_refl)) as B. apply Rabs_le_between in B. lra. }
    assert (Near : forall eps n, 0 < eps -> exists v, P n v /\ Rabs (v e0 - - m) < eps).
    { intros eps n Heps. apply Classical_Prop.NNPP. intros N.
      assert (B : exists y, m - eps < y /\ exists n, forall v, P n v -> v e0 <= - y).
      { apply Classical_Prop.NNPP. intros C. assert (m <= m - eps); [|lra]. apply Hleast. intros y Hy.
        apply Rnot_lt_le. intros Z. apply C. exists y. split; assumption. }
      destruct B as (y & Hy & n' & Hn'). assert (m + eps <= m); [|lra]. apply Hup. exists (max n n').
      intros v Hv. pose proof (Hn' v (mono _ _ v (Nat.le_max_r n n') Hv)).
      pose proof (mono _ _ v (Nat.le_max_l n n') Hv) as Hvn. apply Rnot_lt_le. intros Z.
      apply N. exists v. split; [exact Hvn|]. apply Rabs_def1; lra. }
    destruct (IH (fun n v => P n v /\ Rabs (v e0 - - m) <= / (INR n + 1))) as (x & Hx).
    { intros n n' v Hn [H1 H2]. split; [apply (mono n n'); assumption|]. eapply Rle_trans; [exact H2|].
      apply Rinv_le_contravar; [pose proof (pos_INR n); lra|]. apply le_INR in Hn. lra. }
    { intros n. destruct (Near (/ (INR n + 1)) n) as (v & H1 & H2).
      - apply Rinv_0_lt_compat. pose proof (pos_INR n). lra.
      - exists v. split; [exact H1|lra]. }
    { intros n v e [Hv _] He. apply (bound n v e Hv). right; exact He. }
    (* the list may name e0 again: then x is near - m there *)
    exists (fun e => if decide (In e L) then x e else - m). intros eps n Heps.
    destruct (nfloor_ex (/ eps)) as [N HN]; [apply Rlt_le, Rinv_0_lt_compat, Heps|].
    destruct (Hx eps (max n N) Heps) as (v & [Hv Hv0] & Hnear). exists v.
    split; [apply (mono n (max n N)); [lia|exact Hv]|].
    assert (Hmax : / (INR (max n N) + 1) <= eps).
    { rewrite <- (Rinv_inv eps). apply Rinv_le_contravar; [apply Rinv_0_lt_compat, Heps|].
      pose proof (le_INR N (max n N) ltac:(lia)). lra. }
    intros e [<-|He]; [|destruct (decide (In e L)); [apply Hnear, He|contradiction]].
    destruct (decide (In e0 L)) as [H|_]; [apply Hnear, H|lra].
Qed.

(** ** Attained or not *)

Section Attained.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variables (edges : list E) (units : list U) (A : E -> U -> R) (phi : E -> R -> R).

(** What is asked of the costs, besides [coercive_costs]. As [phi e t] is g(|w_e| exp t), both say that g is
    continuous, bounded below, strictly increasing and unbounded on w > 0. *)
Definition rising_costs : Prop := forall e, In e edges ->
  (forall t : R, continuous (phi e) t) /\ (forall s t, s < t -> phi e s < phi e t).

Hypothesis units_once : NoDup units.

Theorem attained_of_circulation :
  (forall e (t : R), In e edges -> continuous (phi e) t) -> coercive_costs edges phi ->
  circulation edges units A -> exists h, optimal edges units A phi h.
Proof.
  intros cont coercive circ. set (total := total_cost edges units A phi).
  destruct (list_bound edges (fun e m => forall t, - m <= phi e t)) as (b & Hb & Hlow).
  { intros e m m' H Hm t. specialize (H t). lra. }
  { intros e He. destruct (coercive e He) as [[b Hb] _]. exists (- b). intros t. specialize (Hb t). lra. }
  (* -m is the greatest lower bound of the cost; states of nearly that cost are bounded *)
  destruct (completeness (fun y => exists h, y = - total h)) as (m & Hup & Hleast).
  { exists (INR (length edges) * b). intros y [h ->].
    assert (INR (length edges) * - b <= total h); [|lra].
    rewrite <- sum_const. apply sum_le. intros e He. apply Hlow, He. }
  { exists (- total (fun _ => 0)), (fun _ => 0). reflexivity. }
  assert (Inf : forall h, - m <= total h).
  { intros h. assert (- total h <= m); [|lra]. apply Hup. exists h. reflexivity. }
  destruct (bounded_log_scales edges units A phi coercive circ (- m + 1)) as (M & _ & Bound).
  destruct (near_all edges M (fun n v => exists h,
    total h <= - m + / (INR n + 1) /\ forall e, v e = log_scale units A h e)) as (x & Hx).
  { intros n n' v Hn (h & H1 & H2). exists h. split; [|exact H2]. eapply Rle_trans; [exact H1|].
    apply Rplus_le_compat_l, Rinv_le_contravar; [pose proof (pos_INR n); lra|]. apply le_INR in Hn. lra. }
  { intros n. assert (Hp : 0 < / (INR n + 1)) by (apply Rinv_0_lt_compat; pose proof (pos_INR n); lra).
    apply Classical_Prop.NNPP. intros N. assert (m <= m - / (INR n + 1)); [|lra].
    apply Hleast. intros y [h ->]. apply Rnot_lt_le. intros C. apply N.
    exists (log_scale units A h), h. split; [lra|reflexivity]. }
  { intros n v e (h & H1 & H2) He. rewrite H2. apply Bound; [|exact He]. fold total.
    eapply Rle_trans; [exact H1|]. apply Rplus_le_compat_l. rewrite <- Rinv_1.
    apply Rinv_le_contravar; [lra|]. pose proof (pos_INR n). lra. }
  (* what is near images of A is one *)
  destruct (span_or_functional eq_dec edges A units units_once x) as [(h' & Hh')|(c & Hc & Hc1)].
  - exists h'. intros h. eapply Rle_trans; [|apply Inf]. fold total. apply le_epsilon. intros eps Heps.
    assert (Hn : 0 <= INR (length edges)) by apply pos_INR.
    set (eta := eps / 2 / (INR (length edges) + 1)).
    assert (Heta : 0 < eta) by (unfold eta; apply Rdiv_lt_0_compat; lra).
    destruct (list_small edges (fun e d => forall y, Rabs (y - x e) <= d -> Rabs (phi e y - phi e (x e)) <= eta))
      as (d & Hd & Hcont).
    { intros e d d' H Hd y Hy. apply H. lra. }
    { intros e He. pose proof (cont e (x e) He) as C. apply continuity_pt_filterlim in C.
      destruct (C eta Heta) as (d & Hd & H). exists (d / 2). split; [lra|]. intros y Hy.
      destruct (Req_dec y (x e)) as [->|Hne]; [rewrite Rminus_eq_0, Rabs_R0; lra|].
      apply Rlt_le, (H y). split; [split; [exact I|apply not_eq_sym, Hne]|].
      unfold dist; simpl; unfold R_dist. lra. }
    destruct (nfloor_ex (/ (eps / 2))) as [N HN]; [apply Rlt_le, Rinv_0_lt_compat; lra|].
    destruct (Hx d N Hd) as (v & (h1 & H1 & H2) & Hnear).
    assert (HN' : / (INR N + 1) <= eps / 2).
    { rewrite <- (Rinv_inv (eps / 2)). apply Rinv_le_contravar; [apply Rinv_0_lt_compat; lra|lra]. }
    assert (total h' <= total h1 + INR (length edges) * eta).
    { unfold total, total_cost. rewrite <- sum_const, <- sum_plus. apply sum_le. intros e He.
      pose proof (Hcont e He (v e) (Hnear e He)) as Z. apply Rabs_le_between in Z.
      rewrite H2 in Z. rewrite Hh' by exact He. lra. }
    assert (INR (length edges) * eta <= eps / 2).
    { apply Rle_trans with ((INR (length edges) + 1) * eta); [lra|]. unfold eta. right. field. lra. }
    lra.
  - exfalso. set (B := Σ e ∈ edges, Rabs (c e)).
    assert (HB : 0 <= B) by (apply sum_nonneg; intros; apply Rabs_pos).
    destruct (Hx (/ (B + 1)) 0%nat) as (v & (h & _ & H2) & Hnear); [apply Rinv_0_lt_compat; lra|].
    assert (Z : (Σ e ∈ edges, c e * v e) = 0).
    { rewrite (sum_ext edges _ (fun e => c e * log_scale units A h e)) by (intros; rewrite H2; reflexivity).
      rewrite adjoint. apply sum_zero. intros k Hk. rewrite Hc by exact Hk. ring. }
    assert (W : (Σ e ∈ edges, c e * (x e - v e)) <= B * / (B + 1)).
    { unfold B. rewrite <- sum_scal_r. apply sum_le. intros e He.
      eapply Rle_trans; [apply Rle_abs|]. rewrite Rabs_mult. apply Rmult_le_compat_l; [apply Rabs_pos|].
      rewrite Rabs_minus_sym. apply Hnear, He. }
    rewrite (sum_ext edges _ (fun e => c e * x e - c e * v e)) in W by (intros; ring).
    rewrite sum_minus, Z, Hc1 in W.
    assert (B * / (B + 1) < 1); [|lra].
    apply Rmult_lt_reg_r with (B + 1); [lra|]. field_simplify; lra.
Qed.

Theorem lowering_not_attained d :
  rising_costs -> lowering units edges A d -> forall h, ~ optimal edges units A phi h.
Proof.
  intros rising (Hd & e & He & Hlt) h Ho. specialize (Ho (fun k => h k + 1 * d k)). revert Ho.
  apply Rlt_not_le. apply sum_lt with e; [|exact He|].
  - intros e' He'. rewrite log_scale_line, Rmult_1_l. destruct (Hd e' He') as [X|X].
    + apply Rlt_le, (rising e' He'). lra.
    + rewrite X, Rplus_0_r. apply Rle_refl.
  - rewrite log_scale_line. apply (rising e He). lra.
Qed.

(** [B.existence]: exactly one holds: some z > 0 has A^T z = 0, and the optimum is attained; or some d raises
    no weight and lowers one, and it is not. *)
Theorem existence : NoDup edges -> rising_costs -> coercive_costs edges phi ->
  (circulation edges units A /\ (exists h, optimal edges units A phi h) /\ ~ (exists d, lowering units edges A d)) \/
  ((exists d, lowering units edges A d) /\ (forall h, ~ optimal edges units A phi h) /\ ~ circulation edges units A).
Proof.
  intros Hn rising coercive. destruct (stiemke edge_dec units edges A Hn) as [[C|[d D]] X].
  - left. split; [exact C|]. split; [|intros Y; apply X; auto].
    apply attained_of_circulation; [|exact coercive|exact C]. intros e t He. apply (rising e He).
  - right. split; [exists d; exact D|]. split; [apply (lowering_not_attained d rising D)|].
    intros C. apply X. split; [exact C|exists d; exact D].
Qed.

End Attained.

(** The costs of regularizers g that are continuous, strictly increasing and unbounded on w >= 0 are of this
    kind; nothing is asked of their derivatives. *)
Theorem regularizer_costs {E : Type} (edges : list E) (w : E -> R) (g : E -> R -> R) :
  (forall e, In e edges -> w e <> 0 /\ (forall x, 0 <= x -> continuous (g e) x)
    /\ (forall x y, 0 < x < y -> g e x < g e y) /\ (forall m, exists x, 0 < x /\ m <= g e x)) ->
  rising_costs edges (fun e t => g e (Rabs (w e) * exp t)) /\
  coercive_costs edges (fun e t => g e (Rabs (w e) * exp t)).
Proof.
  intros H. split; intros e He; destruct (H e He) as (Hw & cont & inc & unb);
    assert (Hp : 0 < Rabs (w e)) by (apply Rabs_pos_lt, Hw);
    assert (Pos : forall t, 0 < Rabs (w e) * exp t) by (intros t; apply Rmult_lt_0_compat; [exact Hp|apply exp_pos]).
  - split.
    + intros t. apply (continuous_comp (fun t => Rabs (w e) * exp t) (g e)).
      * apply (continuous_scal_r (Rabs (w e)) exp), continuous_exp.
      * apply cont, Rlt_le, Pos.
    + intros s t Hst. apply inc. split; [apply Pos|]. apply Rmult_lt_compat_l; [exact Hp|].
      apply exp_increasing, Hst.
  - split.
    + (* nothing is below g 0 *)
      exists (g e 0). intros t. set (x := Rabs (w e) * exp t). apply Rnot_lt_le. intros C.
      pose proof (cont 0 (Rle_refl 0)) as C0. apply continuity_pt_filterlim in C0.
      destruct (C0 (g e 0 - g e x) ltac:(lra)) as (d & Hd & Near).
      set (y := Rmin (x / 2) (d / 2)). pose proof (Pos t) as Hx. fold x in Hx.
      assert (Hy : 0 < y /\ y <= x / 2 /\ y <= d / 2).
      { unfold y. split; [apply Rmin_pos; lra|]. split; [apply Rmin_l|apply Rmin_r]. }
      pose proof (inc y x ltac:(lra)) as I1.
      assert (N : R_dist (g e y) (g e 0) < g e 0 - g e x).
      { apply (Near y). split; [split; [exact I|lra]|]. simpl. unfold R_dist.
        rewrite Rminus_0_r, Rabs_pos_eq; lra. }
      unfold R_dist in N. apply Rabs_lt_between in N. lra.
    + intros m. destruct (unb m) as (x & Hx & Hm). exists (ln (x / Rabs (w e))). intros s Hs.
      eapply Rle_trans; [exact Hm|].
      assert (Hxs : x <= Rabs (w e) * exp s).
      { replace x with (Rabs (w e) * (x / Rabs (w e))) by (field; lra). apply Rmult_le_compat_l; [lra|].
        rewrite <- (exp_ln (x / Rabs (w e))) by (apply Rdiv_lt_0_compat; assumption).
        destruct Hs as [Hs| ->]; [apply Rlt_le, exp_increasing, Hs|apply Rle_refl]. }
      destruct Hxs as [Hxs| <-]; [apply Rlt_le, inc; lra|apply Rle_refl].
Qed.

(** ** Graphs of degree 1 *)

Section Graph.
Context {E U : Type} (eq_dec : forall j k : U, {j = k} + {j <> k}) (edge_dec : forall d e : E, {d = e} + {d <> e}).
Variables (edges : list E) (units : list U) (source target : E -> option U).

(** Nodes of one component: edges lead from the one to the other, in whatever direction. *)
Inductive linked : option U -> option U -> Prop :=
  | linked_refl n : linked n n
  | linked_with e a : In e edges -> linked a (source e) -> linked a (target e)
  | linked_against e a : In e edges -> linked a (target e) -> linked a (source e).

(** The graph is a disjoint union of strongly connected ones. *)
Definition components_strongly_connected : Prop :=
  forall a b, linked a b -> exists l, walk edges source target a b l.

Lemma walk_app a b c l l' : walk edges source target a b l -> walk edges source target b c l' ->
  walk edges source target a c (l ++ l').
Proof.
  intros W W'. induction W as [n|e n l He _ IH]; [exact W'|]. apply walk_cons; auto.
Qed.

Lemma strongly_connected_iff :
  components_strongly_connected <-> every_edge_on_closed_walk edges source target.
Proof.
  split.
  - intros H e He. apply H. apply linked_against; [exact He|apply linked_refl].
  - intros H a b L. induction L as [n|e a He _ [l IH]|e a He _ [l IH]].
    + exists []. apply walk_nil.
    + exists (l ++ [e]). apply walk_app with (source e); [exact IH|].
      apply walk_cons; [exact He|apply walk_nil].
    + destruct (H e He) as [l' Hl']. exists (l ++ l'). apply walk_app with (target e); assumption.
Qed.

(** [B.existence], the criterion on the graph. *)
Theorem circulation_iff_strongly_connected : well_formed edges units source target ->
  circulation edges units (incidence eq_dec source target) <-> components_strongly_connected.
Proof.
  intros wf. rewrite strongly_connected_iff. split.
  - intros (z & Hz & Hk) e He.
    destruct (decide (exists l, walk edges source target (target e) (source e) l)) as [|Hno]; [assumption|exfalso].
    destruct (no_closed_walk_lowering eq_dec edges units source target wf e He Hno) as (d & Hd & Hlt).
    rewrite (existence_cases_exclusive edges units _ z d Hz Hk Hd e He) in Hlt. lra.
  - exact (closed_walks_circulation eq_dec edge_dec edges units source target wf).
Qed.

End Graph.
