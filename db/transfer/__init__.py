"""In and out: other products' exports, read exactly and repeatably, and exports of our own."""
