import gc
gc.set_threshold(30000)
import urllib.request
gc.freeze()
