# mmdynakd train configs/compose/dist_r56_cifar100.py
# DIST: correlations within a sample and within a class; it compares the samples of a batch.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(student_loss_weight=1, distiller=dict(
    distill_losses=dict(_delete_=True, loss_dist=dict(
        type='DISTLoss', inter_loss_weight=2, intra_loss_weight=2, tau=4, teacher_detach=False)),
    loss_forward_mappings=dict(_delete_=True, loss_dist=dict(
        logits_S=dict(from_student=True, recorder='logits'),
        logits_T=dict(from_student=False, recorder='logits')))))
