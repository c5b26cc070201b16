# mmdynakd train configs/compose/mlkd_r56_cifar100.py
# MLKD of one view: instance, batch and class level at five temperatures; it compares the samples of
# a batch.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(distiller=dict(
    distill_losses=dict(_delete_=True, loss_mlkd=dict(type='mmdynakd.MLKDLoss',
                                                      taus=(2, 3, 4, 5, 6), loss_weight=0.9)),
    loss_forward_mappings=dict(_delete_=True, loss_mlkd=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits')))))
