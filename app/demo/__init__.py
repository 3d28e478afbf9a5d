"""A small Chongqing that lives by itself: the demonstration (`make run`) and the main job once (`make try`)."""
