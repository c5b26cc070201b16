# The multi-teacher rivals as lanes beside DynaKD's candidates: the same teachers, batches,
# augmentations and seeds.
def _kd(**feature):
    """KD with one loss per sample, as weights per sample need; optionally the features, too."""
    recorders = dict(logits=dict(type='ModuleOutputs', source='head'))
    losses = dict(loss_kl=dict(type='KLDivergence', tau=4, loss_weight=0.9, reduction='none',
                               teacher_detach=False))
    mappings = dict(loss_kl=dict(preds_S=dict(from_student=True, recorder='logits'),
                                 preds_T=dict(from_student=False, recorder='logits')))
    if feature:
        recorders['stage3'] = dict(type='ModuleOutputs', source='backbone.layer3')
        losses['loss_feature'] = dict(type='mmdynakd.FeatureMSELoss', reduction='none', **feature)
        mappings['loss_feature'] = dict(preds_S=dict(from_student=True, recorder='stage3',
                                                     connector='adapt'),
                                        preds_T=dict(from_student=False, recorder='stage3'))
        adapt = dict(type='ConvModuleConnector', in_channel=64, out_channel=64,
                     norm_cfg=dict(type='BN'))
        return dict(student_recorders=recorders, teacher_recorders=recorders,
                    connectors=dict(adapt=adapt),
                    distill_losses=losses, loss_forward_mappings=mappings)
    return dict(type='ConfigurableDistiller', student_recorders=recorders,
                teacher_recorders=recorders,
                distill_losses=losses, loss_forward_mappings=mappings)


def _by_losses(kind, **options):
    return dict(selection=dict(type=f'mmdynakd.{kind}', **options), mix='losses')


# CA-MKD's feature part, its authors' weight; last stages have 64 channels
feature_distiller = _kd(loss_weight=50)
rivals = dict(
    ce=dict(selection=None),
    uniform=dict(selection=dict(probs='uniform')),
    skdbert_uniform=dict(selection=dict(probs='uniform', weight_by_probability='none')),
    aver_logits=dict(selection=dict(type='mmdynakd.Average')),
    aver=_by_losses('Average'),
    ebkd=dict(**_by_losses('EntropyWeighted'), distiller=_kd()),
    aekd=_by_losses('GradientSpace', tau=4),
    camkd=dict(**_by_losses('ConfidenceAware'), distiller=_kd()),
    camkd_feature=_by_losses('ConfidenceAware', feature_losses=['loss_feature']),
    subset=_by_losses('RandomSubset', drop=1))
