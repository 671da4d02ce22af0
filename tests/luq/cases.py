"""Every method of the registry with the options on which it is tested."""

from luq.pipelines.contract import contract_cases
from luq.quantizers.registry import quantizer_classes

METHODS = contract_cases(quantizer_classes().values())
