"""What calibration data says about a model: Hessians, activations and their entropy."""
