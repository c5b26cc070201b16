# mmdynakd train configs/compose/ce_r56_cifar100.py
# The teacher's hard decision as label. A decision has no gradient: the losses are mixed, not the
# outputs.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(mix='losses', distiller=dict(
    distill_losses=dict(_delete_=True, loss_hard=dict(type='CrossEntropyLoss', loss_weight=0.9)),
    loss_forward_mappings=dict(_delete_=True, loss_hard=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits')))))
