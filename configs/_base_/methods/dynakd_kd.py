# DynaKD over Hinton's distillation: one backward a step through 0.1 CE + 0.9 T^2 KL (T = 4), theta
# on val.
distiller = dict(
    type='ConfigurableDistiller',
    student_recorders=dict(logits=dict(type='ModuleOutputs', source='head')),
    teacher_recorders=dict(logits=dict(type='ModuleOutputs', source='head')),
    distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=4, loss_weight=0.9,
                                     teacher_detach=False)),
    loss_forward_mappings=dict(loss_kl=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits'))))
model = dict(type='mmdynakd.DynaKD', distiller=distiller, student_loss_weight=0.1)
val_cfg = dict(type='mmdynakd.LaneValLoop')
test_cfg = dict(type='mmdynakd.LaneTestLoop')
baselines = dict(ce=dict(selection=None), uniform=dict(selection=dict(probs='uniform')))
