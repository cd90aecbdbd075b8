"""The trainer of the bundled preset; knows neither database nor screen."""
