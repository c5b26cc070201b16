# mmdynakd train configs/compose/l1_logits_r56_cifar100.py
# L1 distance of the logits, the mean over samples and classes.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(student_loss_weight=1, distiller=dict(
    distill_losses=dict(_delete_=True, loss_l1=dict(type='L1Loss', loss_weight=10)),
    loss_forward_mappings=dict(_delete_=True, loss_l1=dict(
        s_feature=dict(from_student=True, recorder='logits'),
        t_feature=dict(from_student=False, recorder='logits')))))
