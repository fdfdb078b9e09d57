"""AdvPT as a pipeline: each script here is one stage of dvc.yaml, each folder a room that the stages compose."""
