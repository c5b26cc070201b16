# mmdynakd train configs/compose/wsld_r56_cifar100.py
# WSLD: soft labels weighted by sample. It detaches the teacher in its weights: the losses are
# mixed, not the outputs.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(student_loss_weight=1, mix='losses', distiller=dict(
    student_recorders=dict(labels=dict(type='ModuleInputs', source='head.loss_module')),
    distill_losses=dict(_delete_=True,
                        loss_wsld=dict(type='WSLD', tau=4, loss_weight=1, num_classes=100)),
    loss_forward_mappings=dict(_delete_=True, loss_wsld=dict(
        student=dict(from_student=True, recorder='logits'),
        teacher=dict(from_student=False, recorder='logits'),
        gt_labels=dict(from_student=True, recorder='labels', data_idx=1)))))
