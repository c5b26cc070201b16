# mmdynakd study configs/benchmarks/r56_ensemble_all_methods.py
# resnet56, 44, 32 -> resnet20 by every method, 240 epochs, three seeds: one table, paired with
# DynaKD. TAKD and DGKD train resnet44 and resnet32 as assistants of resnet56 first, once.
_base_ = ['../dynakd_r56_cifar100.py', '../_base_/methods/rivals.py']
_feature = dict(distiller={name: _base_.feature_distiller for name in _base_.teachers})
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=4,
                     single_teachers=True,
                     baselines=dict(_base_.rivals,
                                    camkd_feature=dict(_base_.rivals.camkd_feature, **_feature)))]
benchmark = dict(seeds=[0, 1, 2], assistants=True, ranks=True)
