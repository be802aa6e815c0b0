"""Sources of video as the net has them: broken, slow, redirecting, live; on real sockets."""
