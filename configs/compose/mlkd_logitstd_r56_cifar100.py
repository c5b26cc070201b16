# mmdynakd train configs/compose/mlkd_logitstd_r56_cifar100.py
# MLKD + LogitStd of one view: the instance level on standardized logits, base temperature 2, weight
# 9.
_base_ = './mlkd_r56_cifar100.py'
model = dict(distiller=dict(distill_losses=dict(loss_mlkd=dict(taus=(2, 3, 5, 2, 6), loss_weight=9,
                                                               standardize=True))))
