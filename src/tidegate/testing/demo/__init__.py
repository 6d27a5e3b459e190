"""The main job on one machine: a node, twelve agents, real models, rollouts that go well, back, and wrong."""
