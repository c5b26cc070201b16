# mmdynakd study configs/benchmarks/digits_all_methods.py
# The same on scikit-learn's digits, resnet20, 14, 8 -> resnet8, 15 epochs: minutes on a CPU, to see
# it work. First its teachers: mmdynakd train configs/teachers/resnet20_digits.py, likewise
# resnet14_digits.py, resnet8_digits.py.
_base_ = ['../dynakd_digits.py', '../_base_/methods/rivals.py']
_feature = dict(distiller={name: _base_.feature_distiller for name in _base_.teachers})
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=4,
                     single_teachers=True,
                     baselines=dict(_base_.rivals,
                                    camkd_feature=dict(_base_.rivals.camkd_feature, **_feature)))]
benchmark = dict(seeds=[0, 1, 2], assistants=True, ranks=True)
