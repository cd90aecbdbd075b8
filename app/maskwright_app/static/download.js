() => setTimeout(() => document.querySelector("#mw-coco a[download], #mw-coco a[href*='coco.json']")?.click(), 300)
