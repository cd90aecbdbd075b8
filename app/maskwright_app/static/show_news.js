(news, seen, figure, masks, counts) => {
  // the user may have opened another image or run another prompt since the update was requested
  const view = figure?.match(/data-view="([\w-]+)"/)?.[1] ?? "";
  if (!news || news.view !== view) return [seen, figure, masks, counts];
  return [news.seen, news.figure ?? figure, news.masks ?? masks, news.counts ?? counts];
}
