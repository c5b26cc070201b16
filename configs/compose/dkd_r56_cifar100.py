# mmdynakd train configs/compose/dkd_r56_cifar100.py
# DKD: target and other classes apart. 'batchmean', since MMRazor's 'mean' is a sum over the batch;
# mixed losses, since its masked probabilities of 0 leave the outputs no gradient.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(student_loss_weight=1, mix='losses', distiller=dict(
    student_recorders=dict(labels=dict(type='ModuleInputs', source='head.loss_module')),
    distill_losses=dict(_delete_=True, loss_dkd=dict(type='DKDLoss', tau=4, alpha=1, beta=2,
                                                     reduction='batchmean')),
    loss_forward_mappings=dict(_delete_=True, loss_dkd=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits'),
        gt_labels=dict(from_student=True, recorder='labels', data_idx=1)))))
