(** * Certificates of single networks

    A network's weights as exact rational numbers, and integers that show that no rescaling costs less than
    they do, up to a stated gap. That these integers show it is a computation, which the kernel does. *)

From Coq Require Import ZArith Bool.
From Balproof Require Import Sums Homogeneous OptimalScale Balance Gap.

(** A weight is [mantissa / D], with one D for all. [row] names the scales that act on it, with their
    entries of A. The rest is the certificate: y is the weight's cost plus [shift], in units of 1 / D^p, and
    [share] bounds this weight's part of the gap in the same units. *)
Record weight : Type := Weight {
  mantissa : Z;
  row : list (positive * Z);
  shift : Z;
  share : Z;
}.

Section Instance.
Variables (D : Z) (p : nat) (weights : list weight) (scales : list positive).

Definition value (w : weight) : R := IZR (mantissa w) / IZR D.

(** The entry of A. *)
Fixpoint entry (r : list (positive * Z)) (k : positive) : Z :=
  match r with
  | [] => 0
  | (j, c) :: r' => if Pos.eqb j k then (c + entry r' k)%Z else entry r' k
  end.

Definition entries (w : weight) (k : positive) : R := IZR (entry (row w) k).

(** The cost of the network after the rescaling with log-scales h: sum |w exp((A h)_w)|^p. *)
Definition cost_after (h : positive -> R) : R :=
  Σ w ∈ weights, Rabs (value w * exp (log_scale scales entries h w)) ^ p.

Definition cost_now : R := Σ w ∈ weights, Rabs (value w) ^ p.

(** The computation. *)
Fixpoint sumZ {T : Type} (l : list T) (f : T -> Z) : Z :=
  match l with [] => 0 | x :: r => (f x + sumZ r f)%Z end.

Definition weight_cost (w : weight) : Z := Z.pow (Z.abs (mantissa w)) (Z.of_nat p).

Definition flow (w : weight) : Z := (weight_cost w + shift w)%Z.

Definition weight_ok (w : weight) : bool :=
  (negb (mantissa w =? 0) && (0 <? flow w) && (shift w * shift w <=? share w * weight_cost w))%Z.

(** Most entries are 0, and then the flow need not be computed. *)
Definition carried (k : positive) (w : weight) : Z :=
  match entry (row w) k with 0%Z => 0%Z | c => (c * flow w)%Z end.

Definition scale_ok (k : positive) : bool := (sumZ weights (carried k) =? 0)%Z.

Lemma carried_is k w : carried k w = (entry (row w) k * flow w)%Z.
Proof. unfold carried. destruct (entry (row w) k); reflexivity. Qed.

Definition gap_ok (num den : Z) : bool :=
  ((0 <? den) && (sumZ weights share * den <=? num * Z.pow D (Z.of_nat p)))%Z.

Definition check (num den : Z) : bool :=
  (0 <? D)%Z && Nat.ltb 0 p && forallb weight_ok weights && forallb scale_ok scales && gap_ok num den.

Lemma sumZ_IZR {T : Type} (l : list T) (f : T -> Z) : IZR (sumZ l f) = Σ x ∈ l, IZR (f x).
Proof. induction l as [|x l IH]; simpl; [reflexivity|]. rewrite plus_IZR, IH. reflexivity. Qed.

Lemma exp_pow (x : R) (n : nat) : exp x ^ n = exp (INR n * x).
Proof.
  induction n as [|n IH]; [simpl; rewrite Rmult_0_l, exp_0; reflexivity|].
  rewrite S_INR. simpl. rewrite IH, <- exp_plus. f_equal. ring.
Qed.

(** If the computation says true, no rescaling lowers the cost by more than [num / den]. *)
Theorem certified (num den : Z) : check num den = true ->
  forall h, cost_now <= cost_after h + IZR num / IZR den.
Proof.
  unfold check. rewrite !andb_true_iff. intros ((((HD & Hp) & Hw) & Hs) & Hg) h.
  apply Z.ltb_lt, IZR_lt in HD. apply Nat.ltb_lt in Hp.
  rewrite forallb_forall in Hw, Hs.
  unfold gap_ok in Hg. rewrite andb_true_iff in Hg. destruct Hg as [Hden Hg].
  apply Z.ltb_lt, IZR_lt in Hden. apply Z.leb_le, IZR_le in Hg.
  rewrite !mult_IZR, sumZ_IZR, <- (pow_IZR D p) in Hg.
  set (u := IZR D ^ p) in Hg. assert (Hu : 0 < u) by (apply pow_lt; exact HD).
  set (a := fun w => Rabs (value w) ^ p).
  set (y := fun w => IZR (flow w) / u).
  assert (W : forall w, In w weights -> 0 < a w /\ 0 < y w /\ (y w - a w) ^ 2 / a w <= IZR (share w) / u).
  { intros w Hin. specialize (Hw w Hin). unfold weight_ok in Hw. rewrite !andb_true_iff in Hw.
    destruct Hw as ((Hm & Hf) & Hd). apply negb_true_iff, Z.eqb_neq in Hm.
    apply Z.ltb_lt, IZR_lt in Hf. apply Z.leb_le, IZR_le in Hd.
    set (c := Rabs (IZR (mantissa w)) ^ p).
    assert (Ec : IZR (weight_cost w) = c) by (unfold weight_cost; rewrite <- pow_IZR, abs_IZR; reflexivity).
    assert (Ef : IZR (flow w) = c + IZR (shift w)) by (unfold flow; rewrite plus_IZR, Ec; reflexivity).
    rewrite !mult_IZR, Ec in Hd.
    assert (Hc : 0 < c) by (apply pow_lt, Rabs_pos_lt, not_0_IZR, Hm).
    assert (Ea : a w = c / u).
    { unfold a, value, c, u, Rdiv. rewrite Rabs_mult, Rpow_mult_distr, Rabs_inv, (Rabs_pos_eq (IZR D)) by lra.
      f_equal. apply pow_inv. }
    split; [rewrite Ea; apply Rdiv_lt_0_compat; assumption|]. split; [apply Rdiv_lt_0_compat; assumption|].
    rewrite Ea. unfold y. rewrite Ef.
    replace (((c + IZR (shift w)) / u - c / u) ^ 2 / (c / u)) with (IZR (shift w) * IZR (shift w) / c / u)
      by (field; lra).
    apply Rmult_le_compat_r; [apply Rlt_le, Rinv_0_lt_compat, Hu|].
    apply Rmult_le_reg_r with c; [exact Hc|].
    replace (IZR (shift w) * IZR (shift w) / c * c) with (IZR (shift w) * IZR (shift w)) by (field; lra).
    exact Hd. }
  assert (HpR : 0 < INR p) by (apply lt_0_INR; exact Hp).
  pose proof (chi_square_gap weights scales entries a (fun _ => INR p)
    (fun w Hin => conj (proj1 (W w Hin)) HpR) y (fun _ => 0) h (fun w Hin => proj1 (proj2 (W w Hin)))) as G.
  cbv beta zeta in G.
  assert (Z0 : forall w, log_scale scales entries (fun _ => 0) w = 0).
  { intros w. apply sum_zero. intros; ring. }
  assert (O : forall w, omega scales entries a (fun _ => INR p) (fun _ => 0) w = a w).
  { intros w. unfold omega, power_cost. rewrite Z0, Rmult_0_r, exp_0. ring. }
  assert (After : total_cost weights scales entries (fun w => power_cost (a w) (INR p)) h = cost_after h).
  { apply sum_ext. intros w _. unfold power_cost, a.
    rewrite Rabs_mult, Rpow_mult_distr, (Rabs_pos_eq (exp _)) by apply Rlt_le, exp_pos.
    rewrite exp_pow. reflexivity. }
  assert (Now : total_cost weights scales entries (fun w => power_cost (a w) (INR p)) (fun _ => 0) = cost_now).
  { apply sum_ext. intros w _. unfold power_cost. rewrite Z0, Rmult_0_r, exp_0. apply Rmult_1_r. }
  rewrite After, Now in G.
  assert (Circ : forall k, In k scales -> (Σ w ∈ weights, entries w k * (INR p * y w)) = 0).
  { intros k Hk. specialize (Hs k Hk). unfold scale_ok in Hs. apply Z.eqb_eq in Hs.
    apply (f_equal IZR) in Hs. rewrite sumZ_IZR in Hs.
    rewrite (sum_ext weights _ (fun w => INR p / u * IZR (entry (row w) k * flow w))).
    - rewrite sum_scal, (sum_ext weights _ (fun w => IZR (carried k w)))
        by (intros; rewrite carried_is; reflexivity).
      rewrite Hs. ring.
    - intros w _. rewrite mult_IZR. unfold entries, y. field. lra. }
  specialize (G Circ).
  assert (S : (Σ w ∈ weights, (y w - omega scales entries a (fun _ => INR p) (fun _ => 0) w) ^ 2
      / omega scales entries a (fun _ => INR p) (fun _ => 0) w) <= IZR num / IZR den).
  { apply Rle_trans with (Σ w ∈ weights, IZR (share w) * / u).
    - apply sum_le. intros w Hin. rewrite O. apply W, Hin.
    - rewrite sum_scal_r. apply Rmult_le_reg_r with (IZR den * u); [apply Rmult_lt_0_compat; assumption|].
      replace ((Σ w ∈ weights, IZR (share w)) * / u * (IZR den * u))
        with ((Σ w ∈ weights, IZR (share w)) * IZR den) by (field; lra).
      replace (IZR num / IZR den * (IZR den * u)) with (IZR num * u) by (field; lra). exact Hg. }
  lra.
Qed.

End Instance.

(** One unit with weights 1 and 1 (p = 2) is optimal, and the kernel sees it. *)
Definition one_unit_weights : list weight :=
  [Weight 1 [(1%positive, 1%Z)] 0 0; Weight 1 [(1%positive, (-1)%Z)] 0 0].

Fact one_unit_optimal (h : positive -> R) :
  cost_now 1 2 one_unit_weights <= cost_after 1 2 one_unit_weights [1%positive] h + 0 / 1.
Proof. apply (certified 1 2 one_unit_weights [1%positive] 0 1). vm_compute. reflexivity. Qed.
