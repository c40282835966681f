"""What a recipe would do: shapes, parameters, steps, memory and disk, without training. It trains and writes nothing."""
